"""ESeg and ESeg-Lite: counts of encoder, cells and whole networks, and what a pyramid up to P9 is for.

No code was published. Counts of EfficientNet and of BiFPN's cells are those of the official code, rebuilt layer by
layer by others and counted; the paper's figures (rounded, 19 classes) hold if the statistics of batch norms count as
parameters. There are no auxiliary heads.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nas.architecture import load_architecture
from nas.cost import Cost, cost
from nas.language.decide import decide
from nas.network import Network, build
from nas.plan import Planner
from nas.space import load_space
from search_spaces.blocks.joins import WeightedSum
from search_spaces.blocks.mbconv import SqueezeExcite
from search_spaces.encoders.efficientnet import scaled

SCALES = [(1, 1), (1, 1.1), (1.1, 1.2), (1.2, 1.4), (1.4, 1.8), (1.6, 2.2), (1.8, 2.6), (2, 3.1)]
PARAMS = [3_595_388, 6_101_024, 7_202_562, 10_103_336, 16_742_216, 27_288_112, 39_403_992, 62_143_440]  # fmt: skip
GIGA = [3.802, 5.719, 6.605, 9.724, 15.253, 24.016, 34.336, 53.042]  # at 512x1024
WITHOUT_EXCITATION = [2_958_848, 4_978_384, 5_873_424, 8_223_608, 13_595_768]
NECK = "decoder.semantic.neck.bifpn"


def tree(encoder: Any, neck: Any, head: Any, size: tuple[int, int] = (512, 1024)) -> dict[str, Any]:
    return {
        "task": {"semantic": {"classes": 19}},
        "input": [3, *size],
        "encoder": encoder,
        "decoders": {"semantic": {"neck": neck, "head": head}},
    }


def efficientnet(number: int, **fields: Any) -> dict[str, Any]:
    width, depth = SCALES[number]
    encoder = {"efficientnet": {"width": width, "depth": depth, **fields}}
    return tree(encoder, {"none": {}}, {"merge": {"finest": 32}})


def part(costs: Cost, name: str) -> tuple[int, int]:
    """Parameters and MACs of the nodes below `name`."""
    nodes = [n for n in costs.nodes if n.name.startswith(name)]
    return sum(n.params for n in nodes), sum(n.macs for n in nodes)


@pytest.mark.parametrize("number", range(8))
def test_efficientnet_has_the_official_codes_counts(number: int) -> None:
    params, macs = part(cost(efficientnet(number)), "encoder")
    assert params == PARAMS[number]
    assert macs / 1e9 == pytest.approx(GIGA[number], abs=0.0006)


@pytest.mark.parametrize("number", range(5))
def test_without_squeeze_and_excitation(number: int) -> None:
    costs = cost(efficientnet(number, squeeze_excite=0, act="relu"))
    assert part(costs, "encoder")[0] == WITHOUT_EXCITATION[number]


@given(channels=st.integers(1, 400), by=st.floats(0.05, 8))
def test_scaled_widths_are_multiples_of_eight_and_close(channels: int, by: float) -> None:
    width = scaled(channels, by)
    assert width % 8 == 0
    assert 0.9 * channels * by <= width <= max(8, channels * by + 8)


@pytest.mark.parametrize(
    ("top", "width", "count"),
    [(5, 64, 29_198), (9, 64, 68_130), (9, 96, 145_186), (9, 128, 250_914), (9, 160, 385_314)],
)
def test_a_cell_of_equal_widths(top: int, width: int, count: int) -> None:
    """The official code's cell, rebuilt and counted: the second one here, which projects nothing any more."""
    neck = {"bifpn": {"top": top, "width": width, "repeats": 2}}
    costs = cost(tree({"efficientnet": {}}, neck, {"merge": {"width": width}}))
    assert part(costs, f"{NECK}.cell1")[0] == count


@pytest.mark.parametrize(
    ("name", "mega", "giga", "published"),
    [
        ("eseg_s", 6.820, 34.16, (6.9, 34.5)),
        ("eseg_m", 19.879, 111.23, (20.0, 112)),
        ("eseg_l", 70.242, 341.68, (70.5, 343)),
    ],
)
def test_eseg(name: str, mega: float, giga: float, published: tuple[float, float]) -> None:
    """A rebuilt EfficientNet, BiFPN and head, counted by others; and the paper's figures, within 1 %."""
    architecture = load_architecture(name)
    costs = cost(architecture)
    assert costs.params / 1e6 == pytest.approx(mega, abs=0.0006)
    assert costs.macs / 1e9 == pytest.approx(giga, abs=0.006)
    with torch.device("meta"):
        network = build(architecture)
    norms = [m for m in network.modules() if isinstance(m, nn.BatchNorm2d)]
    statistics = sum(2 * m.num_features for m in norms)
    assert (costs.params + statistics) / 1e6 == pytest.approx(published[0], rel=0.01)
    assert costs.macs / 1e9 == pytest.approx(published[1], rel=0.01)


@pytest.mark.parametrize(
    ("name", "mega", "giga"),
    [("eseg_lite_s", 3.185, 4.66), ("eseg_lite_m", 5.341, 7.08), ("eseg_lite_l", 8.603, 11.13)],
)
def test_eseg_lite(name: str, mega: float, giga: float) -> None:
    """Rebuilt and counted by others at 512x1024. The authors' sizes are not known; the files say what was chosen."""
    costs = cost(load_architecture(name))
    assert costs.params / 1e6 == pytest.approx(mega, abs=0.0006)
    assert costs.macs / 1e9 == pytest.approx(giga, abs=0.006)


@pytest.mark.parametrize("name", ["eseg_lite_s", "eseg_lite_m", "eseg_lite_l"])
def test_the_lite_family_has_relu_and_no_excitation(name: str) -> None:
    with torch.device("meta"):
        network = build(load_architecture(name), (64, 96))
    kinds = {type(m) for m in network.modules()}
    assert nn.ReLU in kinds
    assert not kinds & {SqueezeExcite, nn.SiLU, nn.Sigmoid}


def test_levels_above_p5_cost_nearly_nothing_and_the_finest_a_quarter() -> None:
    """Of ESeg-S at 1024x2048, counted by others: 33.96 G to P5, 34.15 to P7, 34.16 to P9; 25.95 from P3 on."""
    eseg = load_architecture("eseg_s").tree
    giga = {}
    for top in (5, 7, 9):
        eseg["decoders"]["semantic"]["neck"]["bifpn"]["top"] = top
        giga[top] = cost(eseg).macs / 1e9
    assert [giga[top] for top in (5, 7, 9)] == pytest.approx([33.96, 34.15, 34.16], abs=0.006)


@pytest.mark.parametrize("name", ["eseg_s", "eseg_lite_s", "eseg_lite_m", "eseg_lite_l"])
def test_the_space_holds_them(name: str) -> None:
    space = load_space("eseg")
    architecture = load_architecture(name).with_input((3, 512, 1024))
    assert decide(space, architecture)


def small(top: int, repeats: int = 1) -> Network:
    """A narrow encoder to stride 32 whose pixels see little, and a BiFPN up to P`top`."""
    stages = [{"width": 8, "blocks": [{"conv": {}}]} for _ in range(4)]
    neck = {"bifpn": {"top": top, "width": 8, "repeats": repeats}}
    network = tree({"stages": {"stem": 8, "stages": stages}}, neck, {"merge": {"width": 8}})
    torch.manual_seed(0)
    return Network(Planner((512, 512)).plan(network)).eval()


@pytest.mark.parametrize(("top", "speaks"), [(5, False), (9, True)])
@torch.no_grad()
def test_p9_lets_one_corner_of_an_image_speak_to_the_opposite_one(top: int, speaks: bool) -> None:
    """At stride 512 the whole image is one pixel: section 3's reason for levels above P5."""
    network = small(top)
    x = torch.randn(1, 3, 512, 512, generator=torch.Generator().manual_seed(1))
    other = x.clone()
    other[:, :, 448:, 448:] = 30
    far = (network(x) - network(other))[:, :, :32, :32]
    assert bool((far != 0).any()) is speaks


def test_a_node_is_its_formula() -> None:
    """P'' = BN(separable(swish(sum of w_i P_i / (sum of w + 1e-4)))), P finer max-pooled, P coarser resized."""
    network = small(7, repeats=2)
    parts, seen = dict(network.named_modules()), {}
    for name in ("up.s16.weighted_sum", "up.s16.bifpn_conv", "up.s8.bifpn_conv"):
        at = f"{NECK}.cell1.{name}"
        parts[at].register_forward_hook(lambda _m, i, y, at=at: seen.update({at: (i, y)}))
    with torch.no_grad():
        network(torch.randn(1, 3, 97, 131))
    inputs = seen[f"{NECK}.cell1.up.s16.weighted_sum"][0][0]
    finer = seen[f"{NECK}.cell1.up.s8.bifpn_conv"][1]
    assert list(inputs) == ["same", "middle", "finer"]
    torch.testing.assert_close(inputs["finer"], F.max_pool2d(finer, 3, 2, 1))
    total = sum(inputs.values()) / (3 + 1e-4)
    node = parts[f"{NECK}.cell1.up.s16.bifpn_conv"]
    y = node.pointwise.norm(node.pointwise.conv(node.depthwise(F.silu(total))))
    torch.testing.assert_close(seen[f"{NECK}.cell1.up.s16.bifpn_conv"][1], y)


def test_weights_stay_shares_while_they_are_trained() -> None:
    """Fast normalised fusion in a whole network: after steps that push weights below zero, too."""
    network = small(6, repeats=2).train()
    sums = [m for m in network.modules() if isinstance(m, WeightedSum)]
    optimizer = torch.optim.Adam([w for m in sums for w in m.weights.values()], lr=1.0)
    x = torch.randn(2, 3, 64, 96)
    for _ in range(3):
        optimizer.zero_grad()
        scores: Tensor = network(x).logits
        scores.square().mean().backward()  # type: ignore[no-untyped-call]
        optimizer.step()
    assert any(w.item() < 0 for m in sums for w in m.weights.values())
    for m in sums:
        shares = torch.stack(list(m.shares().values())).detach()
        assert (shares >= 0).all()
        positive = sum(w.relu().item() for w in m.weights.values())
        assert shares.sum().item() == pytest.approx(positive / (positive + 1e-4), abs=1e-5)


@given(top=st.integers(3, 9), repeats=st.integers(1, 3))
@settings(deadline=None, max_examples=12)
def test_every_level_up_to_the_top_takes_part(top: int, repeats: int) -> None:
    """A cell of L levels has 2(L - 1) nodes, and the head has all the levels; the encoder's own are never dropped."""
    neck = {"bifpn": {"top": top, "width": 8, "repeats": repeats}}
    plan = Planner((97, 131)).plan(tree({"efficientnet": {}}, neck, {"merge": {"width": 8}}))
    names = [step.name for step in plan.steps()[0]]
    levels = max(top, 5) - 1
    nodes = [n for n in names if n.endswith("bifpn_conv")]
    assert len(nodes) == repeats * 2 * (levels - 1)
    (merged,) = [s for s in plan.steps()[0] if s.name.endswith("head.merge.levels.weighted_sum")]
    strides = [int(n.removeprefix("s")) for n in merged.leaf.names or ()]
    assert len(strides) == levels
    assert all(b == 2 * a for a, b in pairwise(strides))
