"""CGRSeg (Ni et al. 2024): the counts of the authors' code, and what its parts compute.

"Recounted": the authors' code for ADE20K's 150 classes at 512x512, built and counted with fvcore. Its figures in print
(4.0, 7.6 and 14.9 G) are those of convolutions; the README said 18.1 M for B, which the code is not. There is no
auxiliary head.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nas.architecture import load_architecture
from nas.cost import Cost, cost
from nas.leaf import measure
from nas.network import Network
from nas.plan import Planner
from nas.registry import find
from search_spaces.blocks.calibrate import Calibrate
from search_spaces.blocks.grid_attention import (
    AttentionDown,
    GridAttention,
    OffsetBias,
    TalkingHeads,
    offsets,
)
from search_spaces.blocks.pool_to import PoolTo
from search_spaces.blocks.prototype_classify import PrototypeClassify, prototypes
from search_spaces.blocks.rectangular_attention import RectangularAttention

RECOUNTED = {"t": 9_364_647, "b": 19_114_871}
PUBLISHED_M = {"t": 9.4, "b": 19.1, "l": 35.7}
HEADS = {"t": 3_616_287, "b": 6_963_463, "l": 10_099_687}
MACS = {"t": (3.945, 0.582), "b": (7.593, 0.996), "l": (14.789, None)}
"""Convolutions and linear layers, and products of attention and of gathering prototypes, in G."""
ATTENTION = {"t": (2, 2), "b": (4, 4), "l": (6, 6)}
WIDTHS = {"t": (48, 120, 224, 128), "b": (64, 144, 288, 256), "l": (80, 192, 384, 256)}


def ade20k(size: str) -> Cost:
    return cost(load_architecture(f"cgrseg_{size}"))


def products(size: str) -> int:
    """Attention to 256 places with 8 heads of 32 and 128 channels, once to 1,024 with half of that; prototypes."""
    attention = sum(ATTENTION[size]) * 8 * 256 * 256 * (32 + 128)
    return attention + 8 * 256 * 1024 * (16 + 64) + 150 * 64 * 64 * WIDTHS[size][3]


def averaging(size: str) -> int:
    """Matrix products of averaging to 8x8 cells, which the authors' code does without multiplying."""
    return sum(
        c * (8 * s * s + 8 * s * 8) for c, s in zip(WIDTHS[size], (64, 32, 16), strict=False)
    )


@pytest.mark.parametrize("size", PUBLISHED_M)
def test_parameters_are_those_of_the_authors_code(size: str) -> None:
    costs = ade20k(size)
    assert sum(n.params for n in costs.nodes if n.name.startswith("decoder")) == HEADS[size]
    assert round(costs.params / 1e6, 1) == PUBLISHED_M[size]
    if size in RECOUNTED:
        assert costs.params == RECOUNTED[size]


@pytest.mark.parametrize("size", MACS)
def test_multiply_adds_are_those_of_the_authors_code(size: str) -> None:
    """fvcore does not see the sum of prototypes by their shares, 150 multiply-adds per channel, nor do we."""
    convolutions, matrices = MACS[size]
    if matrices is not None:
        assert products(size) / 1e9 == pytest.approx(matrices, abs=6e-4)
    rest = ade20k(size).macs - products(size) - averaging(size)
    assert rest / 1e9 == pytest.approx(convolutions, abs=6e-4)


@pytest.mark.parametrize(
    ("width", "band", "count", "giga"),
    [
        (64, 11, 19_072, 0.0188),
        (128, 11, 70_912, 0.0712),
        (256, 11, 272_896, 0.2766),
        (256, 9, 271_872, 0.2755),
    ],
)
def test_rectangular_cell(width: int, band: int, count: int, giga: float) -> None:
    """Recounted: a module of the authors' code on a map of 32x32."""
    costs = cost(cells(width, band), (64, 64))
    cell = [n for n in costs.nodes if ".1.rectangular" in n.name]
    assert sum(n.params for n in cell) == count
    assert count == width * (9 + 2 * band + 7) + 4 * width**2 + 4 * width
    assert sum(n.macs for n in cell) / 1e9 == pytest.approx(giga, abs=6e-5)


def cells(width: int, band: int) -> dict[str, object]:
    stage = {"width": width, "blocks": [{"conv": {}}, {"rectangular": {"band": band}}], "stride": 1}
    return {
        "task": {"semantic": {"classes": 5}},
        "input": [3, 64, 64],
        "encoder": {"stages": {"stem": 8, "stages": [stage]}},
        "decoders": {"semantic": {"head": {"fcn": {"finest": 2}}}},
    }


@pytest.mark.parametrize(("channels", "count"), [(128, 33_409), (256, 132_353)])
def test_parameters_of_the_gate(channels: int, count: int) -> None:
    """Recounted: without the classifier, and without the 1x1 in front of it (3C)."""
    leaf = measure(find("prototype_classify"), {"classes": 150}, ((channels, 8, 8),), None)
    assert leaf.params - 3 * channels - 150 * (channels + 1) == count
    assert count == 2 * channels**2 + 5 * channels + 1


def test_prototypes_are_means_of_the_classes() -> None:
    """Scores that are sure of a pixel's class: the prototype is the plain mean over the pixels of that class."""
    labels = torch.tensor([[[0, 0, 1], [2, 1, 1]]])
    x = torch.randn(1, 4, 2, 3)
    scores = 200.0 * F.one_hot(labels, 3).permute(0, 3, 1, 2).float()
    means = torch.stack([x[0, :, labels[0] == k].mean(1) for k in range(3)])
    torch.testing.assert_close(prototypes(x, scores)[0], means)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**16), pixels=st.integers(1, 30), classes=st.integers(1, 6))
def test_prototypes_lie_among_the_pixels(seed: int, pixels: int, classes: int) -> None:
    """Shares of a class are not negative and sum to one: equal pixels are their own prototype, none is outside."""
    generator = torch.Generator().manual_seed(seed)
    x = torch.randn(2, 3, pixels, 1, generator=generator)
    scores = 3 * torch.randn(2, classes, pixels, 1, generator=generator)
    found = prototypes(x, scores)
    low, high = (t[:, None] for t in (x.amin((2, 3)), x.amax((2, 3))))
    assert (found >= low - 1e-5).all()
    assert (found <= high + 1e-5).all()
    same = x[:, :, :1].expand_as(x)
    expected = x[:, None, :, 0, 0].expand(-1, classes, -1)
    torch.testing.assert_close(prototypes(same, scores), expected)


def test_prototypes_do_not_depend_on_the_order_of_pixels() -> None:
    x, scores, order = torch.randn(1, 4, 5, 6), torch.randn(1, 3, 5, 6), torch.randperm(30)
    mixed = [t.flatten(2)[..., order].reshape(t.shape) for t in (x, scores)]
    torch.testing.assert_close(prototypes(*mixed), prototypes(x, scores))


def test_the_head_is_its_formula() -> None:
    """Step by step as in the authors' code; the first scores and the last have one weight."""
    block, x = PrototypeClassify(6, classes=4).eval(), torch.randn(2, 6, 5, 7)
    nn.init.normal_(block.gate.weight)
    prior = block.conv(block.spread(x)).flatten(2).softmax(2)
    means = torch.einsum("nkp,ncp->nkc", prior, x.flatten(2))
    share = block.score(means).softmax(1)
    vector = torch.einsum("nkc,nko->nc", means, share)
    hidden = F.layer_norm(block.hidden(vector), (6,), block.norm.weight, block.norm.bias)
    gate = block.gate(hidden.relu()).sigmoid()
    torch.testing.assert_close(block(x), block.conv(x * gate[..., None, None] + x))
    torch.testing.assert_close(block.gates(x)[..., 0, 0], gate)


def test_gates_start_at_one_half() -> None:
    gates = PrototypeClassify(16, classes=4).eval().gates(torch.randn(2, 16, 8, 8))
    torch.testing.assert_close(gates, torch.full_like(gates, 0.5), rtol=0, atol=0.05)


def test_calibration_sees_rows_and_columns_alone() -> None:
    """Adding what every row and every column has no mean of changes nothing; the local part is a convolution."""
    block = RectangularAttention(3, band=5).eval()
    x, ripple = torch.randn(2, 3, 8, 6), torch.ones(8, 6)
    ripple[1::2] *= -1
    ripple[:, 1::2] *= -1
    shares = block.calibration(x)
    assert ((shares > 0) & (shares < 1)).all()
    torch.testing.assert_close(block.calibration(x + 7 * ripple), shares)
    assert not torch.allclose(block.calibration(x + torch.linspace(0, 3, 6)), shares, atol=1e-3)
    torch.testing.assert_close(block(x), block.norm(shares * block.local(x)))


def test_levels_are_calibrated_as_if_concatenated() -> None:
    """One weight per level, the same as a cell of the authors' code on the concatenation."""
    network = Network(Planner((128, 192)).plan(pyramid(3))).eval()
    seen: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    network(torch.randn(1, 3, 128, 192))
    at = "decoder.semantic.context.rectangular_pyramid."
    names, parts = ("s8", "s16", "s32"), dict(network.named_modules())
    x = torch.cat([seen[f"{at}pool.{n}.pool_to"] for n in names], 1)
    mixed = torch.cat([seen[f"{at}context0.{n}.scaled_sum"] for n in names], 1)
    y = torch.cat([seen[f"{at}context0.{n}.attend.rectangular_attention"] for n in names], 1)
    expand, project = (
        [parts[f"{at}context0.{n}.{layer}.conv"].get_submodule("conv") for n in names]
        for layer in ("expand", "project")
    )
    first = F.conv2d(y, torch.cat([c.weight for c in expand], 1), expand[0].bias)
    weights, biases = (torch.cat([getattr(c, w) for c in project]) for w in ("weight", "bias"))
    assert [c.bias is None for c in expand] == [False, True, True]
    torch.testing.assert_close(mixed, x + 0.01 * F.conv2d(F.gelu(first), weights, biases))


def pyramid(levels: int) -> dict[str, object]:
    stages = [{"width": w, "blocks": [{"conv": {}}]} for w in (8, 6, 10, 14)]
    context = {"rectangular_pyramid": {"width": 8, "repeats": 1, "finest": 2 ** (6 - levels)}}
    return {
        "task": {"semantic": {"classes": 5}},
        "input": [3, 128, 192],
        "encoder": {"stages": {"stem": 8, "stages": stages}},
        "decoders": {"semantic": {"context": context, "head": {"dynamic_prototype": {}}}},
    }


@pytest.mark.parametrize("size", [(64, 96), (97, 131), (33, 40)])
def test_levels_are_averaged_as_by_adaptive_pooling(size: tuple[int, int]) -> None:
    image, x = torch.randn(2, 3, *size), torch.randn(2, 4, *(-(-s // 8) for s in size))
    expected = F.adaptive_avg_pool2d(x, [-(-s // 64) for s in size])
    torch.testing.assert_close(PoolTo((4, 3), to=64)(x, image), expected)


def test_a_calibrated_feature_is_between_nothing_and_itself() -> None:
    block, x = Calibrate((2, 2)), torch.rand(1, 2, 8, 6)
    for value, expected in ((-3.0, 0 * x), (0.0, x / 2), (3.0, x)):
        torch.testing.assert_close(block(x, torch.full((1, 2, 2, 3), value)), expected)
    with pytest.raises(ValueError, match=r"equal channels, got \[2, 3\]"):
        Calibrate((2, 3))


@pytest.mark.parametrize("step", [1, 2])
@pytest.mark.parametrize("size", [(5, 7), (6, 4), (1, 1)])
def test_a_bias_is_that_of_the_distance(size: tuple[int, int], step: int) -> None:
    """Pair by pair, for queries at every `step`-th place; every distance is in the table."""
    bias = OffsetBias(2, 6)
    nn.init.normal_(bias.table)
    keys = torch.zeros(1, 1, *size)
    queries = keys[..., ::step, ::step]
    table = F.interpolate(bias.table[None], size=size, mode="bilinear", align_corners=False)[0]
    found = bias(queries, keys, step).reshape(2, *queries.shape[2:], *size)
    for y in range(queries.shape[2]):
        for x in range(queries.shape[3]):
            down = (step * y - torch.arange(size[0])).abs()
            across = (step * x - torch.arange(size[1])).abs()
            torch.testing.assert_close(found[:, y, x], table[:, down][..., across])


def test_on_its_own_grid_the_table_is_taken_as_it_is() -> None:
    """So that the network at its training resolution is the authors'."""
    bias, keys = OffsetBias(1, 4), torch.zeros(1, 1, 4, 4)
    nn.init.normal_(bias.table)
    first = bias(keys, keys, 1)[0, 0].reshape(4, 4)
    torch.testing.assert_close(first, bias.table[0])
    assert offsets(3, 5, 2, torch.device("cpu")).tolist()[1] == [2, 1, 0, 1, 2]


def attention(talking: bool) -> tuple[GridAttention, Tensor, Tensor]:
    block = GridAttention(6, heads=2, key=3, grid=4, talking=talking).eval()
    return block, torch.randn(2, 6, 5, 4), torch.randn(2, 6, 5, 4)


def test_weights_of_a_query_sum_to_one() -> None:
    """With plain heads; mixed heads sum to what the mixture gives a weight of one in each."""
    block, query, x = attention(talking=False)
    sums = block.weights(query, x).sum(-1)
    torch.testing.assert_close(sums, torch.ones_like(sums))
    block, query, x = attention(talking=True)
    talk = block.weigh
    assert isinstance(talk, TalkingHeads)
    after = talk.after.weight.sum((1, 2, 3))
    assert talk.after.bias is not None
    expected = after[:, None].expand(2, 20) + 20 * talk.after.bias[:, None]
    torch.testing.assert_close(block.weights(query, x).sum(-1)[0], expected)


def test_attention_is_pytorchs_and_a_convolution_of_the_values() -> None:
    block, query, x = attention(talking=False)
    heads = [t.flatten(2).reshape(2, 2, -1, 20).mT for t in (query, block.key(x), block.value(x))]
    nn.init.normal_(block.bias.table)
    mask = block.bias(query, x, 1).expand(2, -1, -1, -1)
    found = F.scaled_dot_product_attention(*heads, attn_mask=mask)
    expected = found.mT.reshape(2, 24, 5, 4) + block.local(block.value(x))
    torch.testing.assert_close(block(query, x), expected)


def test_queries_of_a_smaller_map_are_every_second_pixel() -> None:
    """Without the convolution around it, an odd map's queries are its pixels 0, 2, 4."""
    block = AttentionDown(4, width=6, heads=1, key=4, grid=4).eval()
    nn.init.zeros_(block.near.weight)
    assert block.near.bias is not None
    nn.init.zeros_(block.near.bias)
    x = torch.randn(1, 4, 5, 7)
    seen = {}
    block.query.register_forward_hook(lambda _m, given, _o: seen.update(query=given[0]))
    assert block(x).shape == (1, 6, 3, 4)
    assert torch.equal(seen["query"], x[..., ::2, ::2])
