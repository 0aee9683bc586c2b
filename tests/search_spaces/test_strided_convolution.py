"""A strided 1x1 convolution: the same values as PyTorch's, without the gradient that crashes."""

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
