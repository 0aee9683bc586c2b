"""Relational semantics propagation: the reconstruction's counts, and what the relation of pixel and region computes.

No code is published, and the paper's own figures are relative to DeepLabv3. Counts are those of the reconstruction that
the neck follows (queries, keys and values of 64, 64 and 128 channels with bias, a table of 64 x window^2, one
classifier), by hand. Its keys have a bias, of 64 per step, which a softmax cancels: here they have none.
There are no auxiliary heads.
"""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nas.architecture import load_architecture
from nas.cost import Cost, cost
from nas.plan import Planner
from search_spaces.blocks.region_relation import RegionRelation, from_blocks, in_blocks, windows

SIZE = (512, 1024)
KEY_BIASES = 3 * 64


def counted(width: int = 128, window: int = 3) -> Cost:
    tree = load_architecture("rsp_resnet50").tree
    neck = {"rsp": {"width": width, "window": window}}
    semantic = tree["decoders"]["semantic"] | {"neck": neck}
    return cost({**tree, "decoders": {"semantic": semantic}}, SIZE)


def is_head(name: str) -> bool:
    """What the reconstruction counts: the steps and the classifier, without the pyramid network in front."""
    neck = name.partition("neck.rsp.")[2]
    return ".head." in name or neck.partition(".")[0] in ("relate", "project", "join", "spread")


@pytest.mark.parametrize(
    ("width", "window", "params"), [(128, 3, 596_307), (128, 5, 599_379), (256, 3, 2_271_827)]
)
def test_parameters_of_the_head(width: int, window: int, params: int) -> None:
    costs = counted(width, window)
    head = sum(n.params for n in costs.nodes if is_head(n.name))
    assert head == params - KEY_BIASES


@pytest.mark.parametrize(
    ("width", "window", "convolutions", "products"),
    [(128, 3, 7.743, 0.074), (128, 5, 7.743, 0.206)],
)
def test_macs_of_the_head_at_512x1024(
    width: int, window: int, convolutions: float, products: float
) -> None:
    macs = sum(n.macs for n in counted(width, window).nodes if is_head(n.name))
    assert macs / 1e9 == pytest.approx(convolutions + products, abs=0.001)


def test_macs_of_the_network_at_512x1024() -> None:
    """ResNet-50 with a deep stem, a pyramid network and this head, 128 wide: 61 G (the reference's sum, rounded)."""
    assert counted().macs / 1e9 == pytest.approx(61, abs=0.5)


def brute_force(block: RegionRelation, low: Tensor, high: Tensor) -> Tensor:
    """Pixel by pixel, neighbour by neighbour."""
    query, key, value = block.query(low), block.key(high), block.value(high)
    height, width = high.shape[-2:]
    out, r, places = torch.zeros(*value.shape[:2], *low.shape[-2:]), block.window // 2, block.places
    for n in range(len(low)):
        for y in range(low.shape[2]):
            for x in range(low.shape[3]):
                above = (y // block.ratio, x // block.ratio)
                near = [(i, j) for i in range(-r, r + 1) for j in range(-r, r + 1)]
                near = [
                    p
                    for p in near
                    if 0 <= above[0] + p[0] < height and 0 <= above[1] + p[1] < width
                ]
                for h in range(block.heads):
                    ks = slice(*[len(places) // block.heads * (h + k) for k in (0, 1)])
                    vs = slice(*[value.shape[1] // block.heads * (h + k) for k in (0, 1)])
                    scores = torch.stack(
                        [
                            query[n, ks, y, x]
                            @ (
                                key[n, ks, above[0] + i, above[1] + j]
                                + places[ks, (i + r) * block.window + j + r]
                            )
                            for i, j in near
                        ]
                    )
                    for share, (i, j) in zip(scores.softmax(0), near, strict=True):
                        out[n, vs, y, x] += share * value[n, vs, above[0] + i, above[1] + j]
    return out


@pytest.mark.parametrize(("ratio", "window"), [(2, 3), (4, 1), (1, 5), (3, 3)])
def test_the_relation_is_its_definition(ratio: int, window: int) -> None:
    torch.manual_seed(0)
    block = RegionRelation((5, 6), ratio=ratio, window=window, heads=2, keys=4)
    nn.init.normal_(block.places)
    low, high = torch.randn(2, 5, 7, 9), torch.randn(2, 6, -(-7 // ratio), -(-9 // ratio))
    with torch.no_grad():
        torch.testing.assert_close(block(low, high), brute_force(block, low, high))


@given(height=st.integers(1, 9), width=st.integers(1, 9), ratio=st.sampled_from([1, 2, 3, 4, 8]))
@settings(deadline=None, max_examples=40)
def test_blocks_and_back_lose_nothing(height: int, width: int, ratio: int) -> None:
    x = torch.randn(2, 3, height, width)
    coarse = torch.Size([-(-height // ratio), -(-width // ratio)])
    assert torch.equal(from_blocks(in_blocks(x, ratio, coarse), x), x)


@given(height=st.integers(1, 7), width=st.integers(1, 7), size=st.sampled_from([1, 3, 5]))
@settings(deadline=None, max_examples=30)
def test_shares_sum_to_one_and_none_goes_beyond_the_border(
    height: int, width: int, size: int
) -> None:
    block = RegionRelation((4, 4), ratio=2, window=size, heads=2, keys=4)
    low, high = torch.randn(1, 4, 2 * height, 2 * width), torch.randn(1, 4, height, width)
    shares = block.shares(low, high)
    torch.testing.assert_close(shares.sum(-1), torch.ones(shares.shape[:-1]))
    inside = windows(torch.ones(1, 1, height, width), size)[0, 0]
    beyond = shares.movedim(5, 3)[0][inside == 0]
    assert not beyond.any()


def test_a_pixel_sees_its_window_and_nothing_else() -> None:
    """Change one coarse pixel: only the pixels under the window around it change."""
    torch.manual_seed(0)
    block = RegionRelation((4, 4), ratio=2, window=3, heads=1, keys=4)
    low, high = torch.randn(1, 4, 12, 16), torch.randn(1, 4, 6, 8)
    other = high.clone()
    other[:, :, 3, 4] += 1
    with torch.no_grad():
        changed = (block(low, high) != block(low, other)).any(1)[0]
    expected = torch.zeros(12, 16, dtype=torch.bool)
    expected[2 * 2 : 2 * 5, 2 * 3 : 2 * 6] = True
    assert torch.equal(changed, expected)


def test_a_key_that_matches_takes_it_all_and_a_place_that_is_favoured_too() -> None:
    block = RegionRelation((2, 2), ratio=1, window=3, heads=1, keys=2)
    for conv in (block.query, block.key, block.value):
        nn.init.dirac_(conv.weight)
    for conv in (block.query, block.value):
        assert conv.bias is not None
        nn.init.zeros_(conv.bias)
    low, high = torch.zeros(1, 2, 5, 5), torch.zeros(1, 2, 5, 5)
    low[:, 0] = 1
    high[0, :, 2, 2] = torch.tensor([100.0, 7.0])
    out = block(low, high)
    assert torch.allclose(
        out[0, 1, 1:4, 1:4], torch.tensor(7.0)
    )  # all that have it in their window
    assert not out[0, 1, 0].any()
    with torch.no_grad():
        block.places[0, 0] = 1000  # up and to the left
        high[:, 0] = 0
        high[0, 1] = torch.arange(25.0).view(5, 5)
        torch.testing.assert_close(block(low, high)[0, 1, 1:, 1:], high[0, 1, :-1, :-1])


def test_what_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="8 heads, 64 keys and 12 channels; choose a common"):
        RegionRelation((12, 12), ratio=2)
    with pytest.raises(ValueError, match="a fine and a coarse feature, got 3"):
        RegionRelation((8, 8, 8), ratio=2)


@pytest.mark.parametrize(("keep", "strides"), [("finest", [4]), ("all", [4, 8, 16, 32])])
def test_context_goes_down_a_level_at_a_time(keep: str, strides: list[int]) -> None:
    """Also through levels that the encoder does not have. The head gets the finest, or all of them."""
    neck = {"rsp": {"width": 8, "heads": 2, "keys": 4, "top": 5, "keep": keep}}
    tree = {
        "task": {"semantic": {"classes": 5}},
        "input": [3, 97, 131],
        "encoder": {"stages": {"stages": [{"width": 8, "blocks": [{"conv": {}}]}] * 2}},
        "decoders": {"semantic": {"neck": neck, "head": {"merge": {"width": 8}}}},
    }
    steps, _ = Planner((97, 131)).plan(tree).steps()
    relations = [s for s in steps if s.leaf.kind.name == "region_relation"]
    assert [s.name.split(".")[-2] for s in relations] == ["s16", "s8", "s4"]
    assert [s.leaf.fields["ratio"] for s in relations] == [2, 2, 2]
    (scored,) = [s for s in steps if s.leaf.kind.name == "weighted_sum"]
    assert scored.leaf.names == tuple(f"s{stride}" for stride in strides)
