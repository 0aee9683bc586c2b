"""Convolutions, strided 1x1 and dilated: the same values as PyTorch's, without the gradients that crash."""

from __future__ import annotations

import subprocess
import sys

import pytest
import torch
from torch import nn

from search_spaces.blocks.conv import Conv


@pytest.mark.parametrize("size", [(8, 12), (7, 13), (1, 1)])
def test_equals_the_strided_form(size: tuple[int, int]) -> None:
    block = Conv(8, width=5, stride=2, kernel=1, norm=False, act="none")
    strided = nn.Conv2d(8, 5, 1, 2, bias=False)
    strided.load_state_dict(block.conv.state_dict())
    ours, theirs = (
        torch.randn(2, 8, *size, generator=torch.Generator().manual_seed(0)) for _ in range(2)
    )
    ours.requires_grad_()
    theirs.requires_grad_()
    got, expected = block(ours), strided(theirs)
    assert torch.allclose(got, expected, atol=1e-6)
    got.square().sum().backward()
    expected.square().sum().backward()
    assert torch.allclose(ours.grad, theirs.grad)  # type: ignore[arg-type]


@pytest.mark.parametrize("channels", [8, 12, 15])
def test_gradients_in_channels_last_do_not_crash(channels: int) -> None:
    code = (
        "import torch\n"
        "from search_spaces.blocks.conv import Conv\n"
        f"block = Conv({channels}, width=16, stride=2, kernel=1).to(memory_format=torch.channels_last)\n"
        f"x = torch.randn(2, {channels}, 64, 128, requires_grad=True)\n"
        "for _ in range(5):\n"
        "    block(x.to(memory_format=torch.channels_last)).sum().backward()\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


BLOCKS = {
    "conv": "conv import Conv\nblock = Conv(20, width=20, dilation=2, norm=False, act='none')",
    "depthwise": "conv import Conv\nblock = Conv(20, width=20, dilation=2, groups=20, norm=False, act='none')",
    "inhibition": "lateral_inhibition import LateralInhibition\nblock = LateralInhibition(20, rate=2)",
}


@pytest.mark.parametrize("block", BLOCKS)
def test_gradients_of_dilated_ones_are_right_under_autocast(block: str) -> None:
    code = (
        f"import torch\nfrom search_spaces.blocks.{BLOCKS[block]}\n"
        "block = block.to(memory_format=torch.channels_last)\n"
        "x = torch.randn(2, 20, 45, 60).bfloat16().to(memory_format=torch.channels_last)\n"
        "grads = []\n"
        "for half in (True, False):\n"
        "    with torch.autocast('cpu', torch.bfloat16, enabled=half):\n"
        "        y = block(x if half else x.float()).float()\n"
        "    grads.append(torch.autograd.grad(y.sum(), next(block.parameters()))[0])\n"
        "assert torch.allclose(*grads, rtol=1e-2, atol=1), (grads[0] - grads[1]).abs().max()\n"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
