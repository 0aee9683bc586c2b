"""IFA (Hu et al. 2022): the counts of the authors' code, and what asking a feature at a place means.

"Recounted": the authors' code, 19 classes, 1024x1024, built and counted with fvcore; published 27.8 M and 186.9 G are
with the auxiliary head, which is trained only and left out here. Its maps are one larger, 257 for 256, as its pooling
rounds up; ours are of that size at 1025x1025, but for the stem.
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
from nas.network import Network, build
from nas.plan import Planner
from search_spaces.blocks.relative_sample import RelativeSample, nearest

TRUNK, DECODER, AUXILIARY, BEHIND_ASPP = 23_631_808, 1_768_307, 2_364_947, 19_399_795
MACS_TRUNK, MACS_DECODER, MACS_BEHIND_ASPP = 116.107, 59.641, 78.27


def decoder(costs: Cost) -> tuple[int, float]:
    nodes = [n for n in costs.nodes if n.name.startswith("decoder")]
    return sum(n.params for n in nodes), sum(n.macs for n in nodes) / 1e9


def test_parameters_are_those_of_the_authors_code() -> None:
    costs = cost(load_architecture("ifa_resnet50"))
    assert decoder(costs)[0] == DECODER
    assert costs.params == TRUNK + DECODER
    with torch.device("meta"):
        trained = build(load_architecture("ifa_resnet50"), (64, 64))
    assert sum(p.numel() for p in trained.parameters()) == TRUNK + DECODER + AUXILIARY
    assert round((TRUNK + DECODER + AUXILIARY) / 1e6, 1) == 27.8


def test_parameters_behind_atrous_pyramid_pooling() -> None:
    costs = cost(load_architecture("ifa_aspp_resnet50"))
    assert decoder(costs)[0] == BEHIND_ASPP
    assert costs.params == TRUNK + BEHIND_ASPP


def test_multiply_adds_are_those_of_the_authors_code() -> None:
    """At the size where our maps are theirs: the stem has 513 pixels a side for their 512."""
    costs = cost(load_architecture("ifa_resnet50"), (1025, 1025))
    stem = sum(n.macs for n in costs.nodes if ".stem." in n.name) / 1e9
    trunk = costs.macs / 1e9 - decoder(costs)[1]
    assert decoder(costs)[1] == pytest.approx(MACS_DECODER, abs=6e-4)
    assert trunk - stem * (1 - (512 / 513) ** 2) == pytest.approx(MACS_TRUNK, abs=6e-4)
    behind = decoder(cost(load_architecture("ifa_aspp_resnet50"), (1025, 1025)))[1]
    assert behind == pytest.approx(MACS_BEHIND_ASPP, abs=6e-3)


def test_multiply_adds_at_1024x1024() -> None:
    published = MACS_TRUNK + MACS_DECODER
    assert cost(load_architecture("ifa_resnet50")).macs / 1e9 == pytest.approx(published, rel=0.02)


def ask(block: RelativeSample, x: Tensor, size: tuple[int, int]) -> Tensor:
    """At every pixel of a map of this size."""
    y: Tensor = block(x, torch.zeros(1, 3, *size))
    return y


def test_at_its_own_resolution_a_feature_answers_with_itself() -> None:
    block, x = RelativeSample((4, 3), to=1), torch.randn(2, 4, 5, 7)
    answer = ask(block, x, (5, 7))
    assert torch.equal(answer[:, 26:], x)
    places = torch.cat([torch.zeros(14), torch.ones(12)])[None, :, None, None]
    torch.testing.assert_close(answer[:, :26], places.expand(2, -1, 5, 7))


@settings(deadline=None, max_examples=60)
@given(
    places=st.integers(1, 40),
    queries=st.integers(1, 60),
    finer=st.sampled_from([3, 5, 7]),
)
def test_an_answer_does_not_depend_on_what_else_is_asked(
    places: int, queries: int, finer: int
) -> None:
    """A grid an odd number of times as fine has the same centres among its own: the same place, the same answer."""
    device = torch.device("cpu")
    index, offset = nearest(queries, places, device)
    fine_index, fine_offset = (
        t[finer // 2 :: finer] for t in nearest(finer * queries, places, device)
    )
    assert torch.equal(index, fine_index)
    torch.testing.assert_close(offset, fine_offset, rtol=0, atol=1e-4)
    assert (offset.abs() <= 1 + 1e-5).all()


@settings(deadline=None, max_examples=60)
@given(places=st.integers(1, 40), queries=st.integers(1, 60))
def test_the_nearest_place_is_the_one_that_the_centre_lies_in(places: int, queries: int) -> None:
    """As PyTorch samples; the offset is the distance to its centre, in halves of a place."""
    index, offset = nearest(queries, places, torch.device("cpu"))
    x = torch.arange(places).double()[None, None]
    assert torch.equal(F.interpolate(x, size=queries, mode="nearest-exact")[0, 0].long(), index)
    centres = (2 * torch.arange(queries) + 1) / queries
    expected = (centres - (2 * index + 1) / places) * places
    torch.testing.assert_close(offset, expected, rtol=0, atol=1e-4)


def test_answers_change_little_within_a_place() -> None:
    """What is asked ever more finely changes ever less from pixel to pixel, but for the borders between vectors."""
    torch.manual_seed(0)
    block, x = RelativeSample((3, 3), to=1, frequencies=3), torch.randn(1, 3, 4, 4)
    perceptron = nn.Sequential(nn.Conv2d(17, 16, 1), nn.Tanh(), nn.Conv2d(16, 1, 1)).double()
    jumps = []
    for size in (4096, 8192, 16384):
        y = perceptron(ask(block, x, (4, size)).double()).detach()
        within = y.reshape(1, 1, 4, 4, size // 4).diff(dim=-1).abs()
        jumps.append(float(within.max()))
    assert jumps[1] == pytest.approx(jumps[0] / 2, rel=0.2)
    assert jumps[2] == pytest.approx(jumps[1] / 2, rel=0.2)


def test_places_are_waves_of_the_offset() -> None:
    """Section 3.2's encoding, down first: frequencies 2^t for t from 0 to 6."""
    block = RelativeSample((2, 3), to=1)
    assert block.waves is not None
    torch.testing.assert_close(block.waves[:6, 0], 2 ** torch.linspace(0, 6, 6))
    assert not block.waves[:6, 1].any()
    assert not block.waves[6:, 0].any()
    down, across = torch.tensor([-0.5, 0.25]), torch.tensor([0.0, 0.5, 1.0])
    found = block.encode(down, across)
    for row, y in enumerate(down):
        for column, x in enumerate(across):
            r = torch.stack([y, x])
            angles = block.waves @ r
            expected = torch.cat([r, angles.sin(), angles.cos()])
            torch.testing.assert_close(found[:, row, column], expected)
    assert RelativeSample((2, 3), to=1, frequencies=0).encode(down, across).shape == (2, 2, 3)


def small() -> Network:
    stages = [{"width": w, "blocks": [{"conv": {}}]} for w in (8, 10, 12)]
    head = {"implicit": {"width": 6, "hidden": [8, 6]}}
    tree = {
        "task": {"semantic": {"classes": 5}},
        "input": [3, 64, 96],
        "encoder": {"stages": {"stem": 8, "stages": stages}},
        "decoders": {"semantic": {"head": head}},
    }
    torch.manual_seed(0)
    return Network(Planner((64, 96)).plan(tree)).eval()


@pytest.mark.parametrize("size", [(5, 7), (10, 6), (3, 13)])
def test_one_feature_answers_at_any_resolution(size: tuple[int, int]) -> None:
    """Vectors and places alike: a grid three times as fine holds the coarse one's answers."""
    block, x = RelativeSample((4, 3), to=1), torch.randn(2, 4, 5, 7)
    fine = ask(block, x, (3 * size[0], 3 * size[1]))
    torch.testing.assert_close(fine[..., 1::3, 1::3], ask(block, x, size), rtol=0, atol=1e-4)


def convolution(block: nn.Module) -> nn.Conv2d:
    conv = block.get_submodule("conv")
    assert isinstance(conv, nn.Conv2d)
    return conv


def test_a_first_layer_is_one_of_the_concatenation() -> None:
    network = small()
    seen: dict[str, Tensor] = {}
    for name, module in network.named_modules():
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
    network(torch.randn(1, 3, 64, 96))
    parts, at = dict(network.named_modules()), "decoder.semantic.head.implicit.ask."
    names = ("s4", "s8", "s16")
    asked = torch.cat([seen[f"{at}{n}.relative_sample"] for n in names], 1)
    layers = [convolution(parts[f"{at}{n}.conv"]) for n in names]
    weight = torch.cat([layer.weight for layer in layers], 1)
    total = seen["decoder.semantic.head.implicit.answer.sum"]
    torch.testing.assert_close(total, F.conv2d(asked, weight, layers[0].bias))
    assert [layer.bias is None for layer in layers] == [False, True, True]
