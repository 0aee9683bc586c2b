"""HRNetV2-W18 and -W48 (Wang et al. 2020): mmsegmentation's counts, and the exchange between branches.

"Recounted": mmsegmentation's HRNet and its FCN head over all branches, 19 classes, 512x1024; without auxiliary head.
The authors' own head has a bias in the 1x1 that fuses.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from nas.architecture import load_architecture
from nas.cost import Cost, cost
from nas.network import build

WIDTHS = (18, 48)
ENCODERS = {18: (9_562_260, 34.29), 48: (65_325_120, 169.44)}
HEADS = {18: (78_589, 2.557), 48: (533_539, 17.435)}
EXCHANGES_M = {18: 0.949, 48: 6.714}


def part(costs: Cost, name: str) -> tuple[int, float]:
    """Parameters, and multiply-adds in G, of the nodes below `name`."""
    nodes = [n for n in costs.nodes if n.name.startswith(name)]
    return sum(n.params for n in nodes), sum(n.macs for n in nodes) / 1e9


@pytest.mark.parametrize("width", WIDTHS)
def test_counts_are_mmsegmentations(width: int) -> None:
    costs = cost(load_architecture(f"hrnet_w{width}"))
    for name, (params, macs) in {"encoder": ENCODERS[width], "decoder": HEADS[width]}.items():
        found = part(costs, name)
        assert found[0] == params
        assert found[1] == pytest.approx(macs, abs=6e-3)
    exchanges = sum(n.params for n in costs.nodes if ".hrnet.stage" in n.name and ".to" in n.name)
    assert exchanges / 1e6 == pytest.approx(EXCHANGES_M[width], abs=6e-4)


def test_parameters_by_hand() -> None:
    """Stem, 4 bottlenecks, then in 1, 4 and 3 modules 4 basic blocks on each of 2, 3 and 4 branches."""
    stem = 27 * 64 + 128 + 9 * 64 * 64 + 128
    bottleneck = 256 * 64 + 128 + 9 * 64 * 64 + 128 + 64 * 256 + 512
    first = bottleneck - 192 * 64 + (64 * 256 + 512)
    total = stem + first + 3 * bottleneck
    c = [18 * 2**i for i in range(4)]
    total += 9 * 256 * 18 + 36 + 9 * 256 * 36 + 72
    total += sum(9 * a * b + 2 * b for a, b in ((36, 72), (72, 144)))
    for modules, branches in ((1, 2), (4, 3), (3, 4)):
        blocks = sum(4 * 2 * (9 * w * w + 2 * w) for w in c[:branches])
        total += modules * (blocks + exchange_params(c[:branches]))
    assert total == ENCODERS[18][0]


def exchange_params(widths: list[int]) -> int:
    total = 0
    for i, to in enumerate(widths):
        for j, w in enumerate(widths):
            if j > i:
                total += w * to + 2 * to
            elif j < i:
                total += (i - j - 1) * (9 * w * w + 2 * w) + 9 * w * to + 2 * to
    return total


def small() -> dict[str, Any]:
    tree = load_architecture("hrnet_w18").tree
    tree["encoder"]["hrnet"] = {"width": 4, "modules": [1, 1, 1], "blocks": 1, "stem": 4}
    tree["decoders"]["semantic"]["head"]["fused_levels"]["width"] = 8
    return tree


def test_every_branch_becomes_the_sum_of_what_all_send() -> None:
    """The last exchange written out: 1x1 and bilinear from coarser branches, 3x3s of stride 2 from finer ones."""
    network = build(small(), (97, 131)).eval()
    found: dict[str, Tensor] = {}
    for name in network.leaf_names:
        network.get_submodule(name).register_forward_hook(
            lambda _m, _i, out, name=name: found.__setitem__(name, out)
        )
    with torch.no_grad():
        network(torch.randn(1, 3, 97, 131))
    base = "encoder.hrnet.stage4.0"
    branches = {s: found[f"{base}.s{s}.0.basic"] for s in (4, 8, 16, 32)}

    def conv(name: str, x: Tensor) -> Tensor:
        out: Tensor = network.get_submodule(f"{base}.{name}.conv")(x)
        return out

    eight = branches[8] + conv("to8.from4.at4", branches[4])
    for s in (16, 32):
        sent, size = conv(f"to8.from{s}", branches[s]), branches[8].shape[2:]
        eight = eight + F.interpolate(sent, size=size, mode="bilinear", align_corners=False)
    torch.testing.assert_close(found[f"{base}.to8.activate"], eight.relu())
    thirty_two = branches[32]
    for s in (4, 8, 16):
        sent = branches[s]
        for stride in (4, 8, 16)[(4, 8, 16).index(s) :]:
            sent = conv(f"to32.from{s}.at{stride}", sent)
        thirty_two = thirty_two + sent
    torch.testing.assert_close(found[f"{base}.to32.activate"], thirty_two.relu())


def test_a_head_that_reads_one_branch_leaves_the_last_exchange_of_the_others_out() -> None:
    """What nobody reads is neither built nor counted: stride 32 alone needs no other sum in the last module."""
    tree = small()
    tree["decoders"]["semantic"]["head"] = {"fcn": {"finest": 32, "width": 8}}
    names = {n.name for n in cost(tree, (64, 96)).nodes}
    assert not [n for n in names if any(f".stage4.0.to{s}." in n for s in (4, 8, 16))]
    assert any(".stage4.0.to32." in n for n in names)
    assert any(".stage3.0.to4." in n for n in names)
