"""Multi-scale superpixel message passing: what a message is, what superpixels are, and that both cost no weight.

The paper's module has no parameters (its abstract); its gains are not reproduced here. Counts are
those of the baselines, without the auxiliary head that they are trained with.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nas.architecture import load_architecture
from nas.cost import cost
from nas.network import Network
from nas.plan import Planner
from search_spaces.blocks.superpixel_message import SuperpixelMessage, message
from search_spaces.blocks.superpixels import cells, means, superpixels, with_places

SIZES = st.tuples(st.integers(1, 17), st.integers(1, 17))


def noise(size: tuple[int, int], batch: int = 2) -> Tensor:
    return torch.rand(batch, 3, *size)


@pytest.mark.parametrize(
    ("name", "params"),
    [
        # mmsegmentation's counts of trunk and PSPHead; of its ASPPHead by hand: 1x1, three 3x3, image, 3x3 of five
        ("msp_pspnet_resnet50", 23_508_032 + 19_232 + 23_083_539),
        (
            "msp_deeplabv3_resnet50",
            23_508_032
            + 19_232
            + 512 * (2048 * (1 + 3 * 9 + 1) + 5 * 2)
            + (5 * 512 * 9 + 2) * 512
            + 513 * 19,
        ),
    ],
)
def test_the_networks_have_the_baselines_parameters(name: str, params: int) -> None:
    assert cost(load_architecture(name), (64, 96)).params == params


def test_messages_cost_no_multiply_add() -> None:
    ours, theirs = (
        cost(load_architecture(name)) for name in ("msp_pspnet_resnet50", "pspnet_resnet50")
    )
    assert (ours.params, ours.macs) == (theirs.params, theirs.macs)


@given(size=SIZES, cell=st.integers(1, 6), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=40)
def test_a_message_is_constant_within_a_superpixel_and_is_its_mean(
    size: tuple[int, int], cell: int, seed: int
) -> None:
    torch.manual_seed(seed)
    labels, x = superpixels(noise(size), cell, 0.5, 3), torch.randn(2, 4, *size)
    found = message(x, labels, cell)
    for n in range(2):
        for label in labels[n].unique():
            inside = labels[n] == label
            expected = x[n][:, inside].mean(1, keepdim=True).expand(-1, int(inside.sum()))
            torch.testing.assert_close(found[n][:, inside], expected)


@given(size=SIZES, cell=st.integers(1, 6), seed=st.integers(0, 99))
@settings(deadline=None, max_examples=25)
def test_every_pixel_is_in_the_nearest_superpixel_around_its_cell(
    size: tuple[int, int], cell: int, seed: int
) -> None:
    """After one step, pixel by pixel: the nearest mean in colour and place, of the 3 x 3 cells around it."""
    torch.manual_seed(seed)
    image = noise(size, batch=1)
    points = with_places(image, 0.5 / cell)[0]
    high, wide = cells(size[0], cell), cells(size[1], cell)
    centres = torch.stack(
        [
            points[:, cell * i : cell * (i + 1), cell * j : cell * (j + 1)].mean((1, 2))
            for i in range(high)
            for j in range(wide)
        ]
    )
    labels = superpixels(image, cell, 0.5, 1)[0]
    for y in range(size[0]):
        for x in range(size[1]):
            near = [
                i * wide + j
                for i in range(max(y // cell - 1, 0), min(y // cell + 2, high))
                for j in range(max(x // cell - 1, 0), min(x // cell + 2, wide))
            ]
            distances = {i: float((points[:, y, x] - centres[i]).square().sum()) for i in near}
            assert int(labels[y, x]) in near
            assert distances[int(labels[y, x])] == pytest.approx(min(distances.values()), abs=1e-6)


def test_superpixels_follow_edges() -> None:
    """Two colours along a slanted edge: no superpixel has both, though the cells that they begin as do."""
    y, x = torch.meshgrid(torch.arange(40), torch.arange(60), indexing="ij")
    right = x > 20 + y // 2
    image = right.float().expand(1, 3, -1, -1) * 2
    labels = superpixels(image, 8, 0.5, 5)[0]
    squares = superpixels(image, 8, 1e4, 5)[0]
    mixed = [
        len([i for i in found.unique() if 0 < right[found == i].float().mean() < 1])
        for found in (labels, squares)
    ]
    assert mixed[0] == 0
    assert mixed[1] >= 5


def test_without_colour_superpixels_are_their_cells() -> None:
    y, x = torch.meshgrid(torch.arange(12), torch.arange(20), indexing="ij")
    assert torch.equal(superpixels(torch.zeros(1, 3, 12, 20), 4, 1.0, 5)[0], y // 4 * 5 + x // 4)


def test_the_module_is_the_cascade_of_its_sizes() -> None:
    torch.manual_seed(0)
    x, image = torch.randn(2, 5, 10, 13), noise((40, 52))
    block = SuperpixelMessage((5, 3), to=4, cells=(2, 5), weight=0.5)
    expected = x
    for cell, labels in zip((2, 5), block.labels(image), strict=True):
        expected = expected + 0.5 * message(expected, labels, cell)
    torch.testing.assert_close(block(x, image), expected)


@pytest.mark.parametrize(
    ("sizes", "change"), [((1,), lambda x: x), ((99,), lambda x: x.mean((2, 3), keepdim=True))]
)
def test_single_pixels_double_and_one_superpixel_adds_the_images_mean(
    sizes: tuple[int, ...], change: Any
) -> None:
    x, image = torch.randn(2, 5, 10, 13), noise((10, 13))
    block = SuperpixelMessage((5, 3), to=1, cells=sizes, compactness=1e6)
    torch.testing.assert_close(block(x, image), x + change(x))


def test_a_constant_feature_doubles_with_every_size() -> None:
    block = SuperpixelMessage((2, 3), to=1, cells=(2, 3, 5))
    x = torch.full((1, 2, 9, 9), 3.0)
    torch.testing.assert_close(block(x, noise((9, 9), 1)), 8 * x)


def test_the_gradient_is_that_of_finite_differences() -> None:
    torch.manual_seed(0)
    image = noise((5, 6), 1).double()
    block = SuperpixelMessage((2, 3), to=1, cells=(2, 3))
    x = torch.randn(1, 2, 5, 6, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda v: block(v, image), (x,))


def test_a_superpixel_without_a_pixel_keeps_its_centre() -> None:
    labels = torch.tensor([[[0, 0, 2]]])
    found = means(torch.tensor([[[[1.0, 3.0, 5.0]]]]), labels, torch.full((1, 1, 1, 3), 7.0))
    assert found.flatten().tolist() == [2, 7, 5]


@pytest.mark.parametrize("slot", ["neck", "context"])
def test_sizes_under_two_pixels_of_a_map_are_left_out(slot: str) -> None:
    stages = [{"width": 8, "blocks": [{"conv": {}}]}] * 4
    tree = {
        "task": {"semantic": {"classes": 5}},
        "input": [3, 97, 131],
        "encoder": {"stages": {"stages": stages}},
        "decoders": {
            "semantic": {slot: {"msp": {"sizes": [16, 26, 51]}}, "head": {"merge": {"width": 8}}}
        },
    }
    plan = Planner((97, 131)).plan(tree)
    found = {
        s.leaf.fields["to"]: s.leaf.fields["cells"]
        for s in plan.steps()[0]
        if s.leaf.kind.name == "superpixel_message"
    }
    assert found == {4: [4, 6, 13], 8: [2, 3, 6], 16: [2, 3], 32: [2]}
    assert Network(plan).eval()(noise((97, 131))).isfinite().all()
