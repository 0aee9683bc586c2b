"""UPerNet (Xiao et al. 2018): mmsegmentation's counts, and what the head computes.

"Recounted": mmsegmentation's UPerHead, built and counted for 19 classes at 512x1024, without the auxiliary head.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F

from nas.architecture import load_architecture
from nas.cost import Cost, cost
from nas.network import build

RECOUNTED = {
    (18, 128): (2_536_851, 26.8),
    (18, 256): (8_317_715, 105.6),
    (18, 512): (29_611_539, 419.0),
    (50, 128): (5_264_787, 29.2),
    (50, 256): (13_773_587, 110.2),
    (50, 512): (40_523_283, 428.3),
}
TRUNK_50 = 23_527_264  # ResNet-50 with the deep stem, without fc


def tree(depth: int, width: int) -> dict[str, Any]:
    found = load_architecture(f"upernet_resnet{depth}").tree
    found["decoders"]["semantic"]["head"] = {"upernet": {"width": width}}
    return found


def head(costs: Cost) -> tuple[int, float]:
    """Parameters of the head, and its multiply-adds in G."""
    nodes = [n for n in costs.nodes if n.name.startswith("decoder")]
    return sum(n.params for n in nodes), sum(n.macs for n in nodes) / 1e9


@pytest.mark.parametrize(("depth", "width"), RECOUNTED)
def test_counts_are_mmsegmentations(depth: int, width: int) -> None:
    params, macs = head(cost(tree(depth, width)))
    assert params == RECOUNTED[depth, width][0]
    assert macs == pytest.approx(RECOUNTED[depth, width][1], abs=0.06)


def test_the_whole_network_is_mmsegmentations() -> None:
    """For ADE20K's 150 classes, with and without the auxiliary head of 256 channels on stage 3."""
    architecture = load_architecture("upernet_resnet50").with_classes(150)
    more_classes = 131 * (512 + 1)
    counted = cost(architecture, (64, 96)).params
    assert counted == TRUNK_50 + RECOUNTED[50, 512][0] + more_classes
    auxiliary = 9 * 1024 * 256 + 2 * 256 + 256 * 150 + 150
    with torch.device("meta"):
        network = build(architecture, (64, 96))
    assert sum(p.numel() for p in network.parameters()) == counted + auxiliary


def test_what_the_coarsest_level_knows_reaches_the_finest() -> None:
    """Sums from the top down, written out with the network's own convolutions."""
    network = build(tree(18, 16), (64, 96)).eval()
    found: dict[str, torch.Tensor] = {}
    for name in network.leaf_names:
        module = network.get_submodule(name)
        short = name.removeprefix("decoder.semantic.head.upernet.")
        module.register_forward_hook(lambda _m, _i, out, s=short: found.__setitem__(s, out))
    with torch.no_grad():
        network(torch.randn(1, 3, 64, 96))
    above = found["context.ppm.project.fuse"]
    for stride in (16, 8, 4):
        lateral = found[f"lateral.s{stride}.conv"]
        size = lateral.shape[2:]
        above = lateral + F.interpolate(above, size=size, mode="bilinear", align_corners=False)
        torch.testing.assert_close(found[f"sum.s{stride}.sum"], above)
        out = network.get_submodule(f"decoder.semantic.head.upernet.out.s{stride}.conv")
        torch.testing.assert_close(found[f"out.s{stride}.conv"], out(above))
