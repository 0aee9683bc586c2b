"""PANet's bottom-up path: its counts, and what it computes.

The paper finds objects, so there is no published count of the whole network: it is the sum of mmsegmentation's
trunk, pyramid network and head, and the official code's path, each counted by others. No auxiliary head.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.architecture import load_architecture
from nas.cost import cost
from nas.network import build

NECK = "decoder.semantic.neck.panet"


def tree(width: int, **fields: Any) -> dict[str, Any]:
    return {
        "task": {"semantic": {"classes": 5}},
        "input": [3, 64, 96],
        "encoder": {"resnet": {"depth": 18, "width": 0.125}},
        "decoders": {
            "semantic": {
                "neck": {"panet": {"width": width, **fields}},
                "head": {"fused_levels": {"width": 8}},
            }
        },
    }


def path(name: str) -> bool:
    return name.startswith((f"{NECK}.down.", f"{NECK}.path."))


def test_the_path_from_p2_to_p5_has_the_published_codes_counts() -> None:
    """Official code (ShuLiu1993/PANet), counted at 256 channels: 3,540,480 parameters, 12.68 G at 512x1024."""
    nodes = [n for n in cost(tree(256), (512, 1024)).nodes if path(n.name)]
    assert sum(n.params for n in nodes) == 3_540_480 == 6 * (9 * 256**2 + 256)
    assert sum(n.macs for n in nodes) / 1e9 == pytest.approx(12.68, abs=0.006)


def test_the_network_is_the_sum_of_its_parts() -> None:
    """At 512x1024; trunk, pyramid network, path and head in this order."""
    costs = cost(load_architecture("panet_resnet50"))
    assert costs.params == 23_527_264 + 3_344_384 + 3_540_480 + 1_626_259
    assert costs.macs / 1e9 == pytest.approx(45.21 + 29.70 + 12.68 + 15.63, abs=0.02)


@pytest.mark.parametrize("norm", [False, True])
def test_each_level_is_its_own_and_what_came_from_below(norm: bool) -> None:
    network = build(tree(8, norm=norm), (97, 131)).eval()
    parts = dict(network.named_modules())
    seen: dict[str, Tensor] = {}
    for name, part in parts.items():
        if name.startswith(NECK) and name.endswith(".conv"):
            part.register_forward_hook(lambda _m, _i, y, name=name: seen.update({name: y}))
    network(torch.randn(2, 3, 97, 131))
    below = seen[f"{NECK}.out.s4.conv"]
    for stride in (8, 16, 32):
        down = convolved(parts[f"{NECK}.down.s{stride}.conv"], below, 2)
        total = seen[f"{NECK}.out.s{stride}.conv"] + down
        below = convolved(parts[f"{NECK}.path.s{stride}.conv"], total, 1)
        torch.testing.assert_close(seen[f"{NECK}.path.s{stride}.conv"], below)


def convolved(part: nn.Module, x: Tensor, stride: int) -> Tensor:
    """A 3x3 of that stride, batch norm where there is one, ReLU, by PyTorch's functions."""
    conv, norm = part.get_submodule("conv"), part.get_submodule("norm")
    assert isinstance(conv, nn.Conv2d)
    assert (conv.bias is None) == isinstance(norm, nn.BatchNorm2d)
    return norm(F.conv2d(x, conv.weight, conv.bias, stride, padding=1)).relu()  # type: ignore[no-any-return]


@pytest.mark.parametrize("top", [5, 7, 9])
def test_the_path_climbs_to_the_top(top: int) -> None:
    names = [n.name for n in cost(tree(8, top=top), (64, 96)).nodes]
    climbed = [n for n in names if n.startswith(f"{NECK}.path.")]
    assert climbed == [f"{NECK}.path.s{2**level}.conv" for level in range(3, top + 1)]
