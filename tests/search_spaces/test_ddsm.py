"""Dynamic dual sampling: counts of the reconstruction, and what is sampled.

The authors publish a figure and no code; the paper's own counts are not known. Figures are those of the reconstruction
that follows the figure: 1x1 convolutions with bias, offsets by 3x3 convolutions, averages over 8 x 8 cells.
There are no auxiliary heads.
"""

from __future__ import annotations

from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from nas.architecture import load_architecture
from nas.cost import cost
from nas.leaf import measure
from nas.plan import Planner
from nas.registry import find
from search_spaces.blocks.dual_sampling import (
    ChannelSampling,
    PixelSampling,
    Sampled,
    embedding,
    grid,
)

BOTH = (("pixel_sampling", {"ratio": 2}), ("channel_sampling", {}))


def averaging(channels: int, height: int, width: int) -> int:
    """MACs of the matrix products that average over 8 x 8 cells, which the reconstruction does without."""
    return channels * 8 * (height * width + 8 * width)


@pytest.mark.parametrize(
    ("channels", "height", "params", "giga"),
    [(64, 64, 53_924, 0.254), (256, 64, 577_700, 3.04), (256, 128, 577_700, 12.11)],
)
def test_counts_of_the_module(channels: int, height: int, params: int, giga: float) -> None:
    """The fine map is twice as wide as high, the coarse one half of that."""
    low, high = (channels, height, 2 * height), (channels, height // 2, height)
    leaves = [measure(find(kind), fields, (low, high), None) for kind, fields in BOTH]
    assert sum(leaf.params for leaf in leaves) == params
    macs = sum(leaf.macs for leaf in leaves) - averaging(*low) - averaging(*high)
    assert macs / 1e9 == pytest.approx(giga, rel=0.005)


def test_the_network_is_sfnets_with_its_alignment_exchanged() -> None:
    """SFNet on that ResNet has 12,869,715 parameters (official code), each alignment module 18,688."""
    module = (5 * 128**2 + 4 * 128 + 18 * (9 * 128 + 1)) + (
        3 * 128**2 + 2 * 128 + 18 * (9 * 64 + 1)
    )
    ours, theirs = (load_architecture(f"{name}_resnet18") for name in ("ddsm", "sfnet"))
    params = cost(ours, (512, 1024)).params
    assert params == 12_869_715 + 3 * (module - 18_688)
    assert params == cost(theirs, (512, 1024)).params + 3 * (module - 18_688)


def maps(keys: int, values: int, size: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor]:
    return torch.randn(2, keys, *size), torch.randn(2, keys, *size), torch.randn(2, values, *size)


@given(height=st.integers(1, 6), width=st.integers(1, 6), window=st.sampled_from([3, 5]))
@settings(deadline=None, max_examples=30)
def test_the_highest_scores_are_sampled_and_no_others(height: int, width: int, window: int) -> None:
    """Of a window two places larger, clamped at the border: those whose keys fit the query best."""
    block = Sampled(4, window, "highest")
    query, key, value = maps(4, 3, (height, width))
    found, r = block(query, key, value), window // 2 + 1
    for y in range(height):
        for x in range(width):
            rows = torch.arange(y - r, y + r + 1).clamp(0, height - 1)
            columns = torch.arange(x - r, x + r + 1).clamp(0, width - 1)
            keys = key[0][:, rows][:, :, columns].flatten(1)
            values = value[0][:, rows][:, :, columns].flatten(1)
            scores, best = (query[0, :, y, x] @ keys).sort(descending=True)
            n = window * window
            expected = values[:, best[:n]] @ scores[:n].softmax(0)
            torch.testing.assert_close(found[0, :, y, x], expected, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("size", [(9, 11), (2, 3), (1, 1)])
def test_as_many_are_sampled_as_the_window_has(size: tuple[int, int]) -> None:
    """At the border, too, where one pixel stands at several places with the same score."""
    torch.manual_seed(0)
    block = Sampled(4, 3, "highest")
    query, key, _ = maps(4, 1, size)
    shares = block.shares(query, key, block.places(key))
    assert shares.shape[1] == 25
    assert ((shares > 0).sum(1) == 9).all()
    torch.testing.assert_close(shares.sum(1), torch.ones_like(shares[:, 0]))


def test_the_highest_of_one_is_refused() -> None:
    """Its share would be one whatever its score: no gradient for what makes scores."""
    with pytest.raises(ValueError, match="`highest` needs a window of 3 at least, got 1"):
        Sampled(4, 1, "highest")


def test_before_training_offsets_sample_the_window_itself() -> None:
    torch.manual_seed(0)
    block = Sampled(4, 3, "offsets")
    query, key, value = maps(4, 5, (6, 7))
    keys = F.unfold(F.pad(key, [1] * 4, mode="replicate"), 3).view(2, 4, 9, 6, 7)
    values = F.unfold(F.pad(value, [1] * 4, mode="replicate"), 3).view(2, 5, 9, 6, 7)
    shares = torch.einsum("nchw,ncshw->nshw", query, keys).softmax(1)
    expected = torch.einsum("nshw,ncshw->nchw", shares, values)
    torch.testing.assert_close(block(query, key, value), expected, rtol=1e-3, atol=1e-4)


def test_offsets_say_where_is_sampled() -> None:
    """All nine samples moved to one pixel, 2 to the right and 1 up: its value, whatever the keys."""
    block = Sampled(4, 3, "offsets")
    assert block.offsets is not None
    nn.init.zeros_(block.offsets.weight)
    moves = [c for x, y in block.shifts.tolist() for c in (2.0 - x, -1.0 - y)]
    with torch.no_grad():
        assert block.offsets.bias is not None
        block.offsets.bias.copy_(torch.tensor(moves))
    query, key, value = maps(4, 3, (6, 8))
    found = block(query, key, value)
    torch.testing.assert_close(found[:, :, 1:, :-2], value[:, :, :-1, 2:], rtol=1e-4, atol=1e-4)


def test_offsets_get_a_gradient_from_where_values_differ() -> None:
    block = Sampled(4, 3, "offsets")
    query, key, value = maps(4, 3, (6, 8))
    block(query, key, value).square().sum().backward()
    assert block.offsets is not None
    assert block.offsets.weight.grad is not None
    assert block.offsets.weight.grad.abs().max() > 0


def test_channels_that_vary_alike_are_mixed() -> None:
    """Two groups of channels of opposite sign: each gathers from its own alone."""
    block = ChannelSampling((16, 16), cells=4, choose="highest")
    for conv in (block.theta, block.phi.low, block.phi.high):
        nn.init.dirac_(conv.weight)
        if conv.bias is not None:
            nn.init.zeros_(conv.bias)
    sign = torch.tensor([1.0, -1.0]).repeat(8).view(1, 16, 1, 1)
    low = high = 30 * sign * torch.randn(1, 1, 4, 4)
    values = block(low, high)
    torch.testing.assert_close(values, high, rtol=1e-4, atol=1e-3)
    assert grid(16) == (4, 4)


@pytest.mark.parametrize(
    ("channels", "expected"), [(64, (8, 8)), (128, (8, 16)), (256, (16, 16)), (7, (1, 7))]
)
def test_channels_are_laid_out_in_order(channels: int, expected: tuple[int, int]) -> None:
    block = ChannelSampling((channels, channels), cells=2)
    x = torch.randn(2, channels, 3, 5)
    laid = block.laid_out(x)
    assert grid(channels) == expected
    assert laid.shape == (2, 15, *expected)
    torch.testing.assert_close(laid.flatten(2).mT.reshape(x.shape), x, rtol=0, atol=0)


@given(
    height=st.integers(3, 9),
    width=st.integers(3, 9),
    channels=st.sampled_from([4, 8, 20]),
    ratio=st.sampled_from([1, 2, 4]),
)
@settings(deadline=None, max_examples=30)
def test_embeddings_tell_places_by_their_distance(
    height: int, width: int, channels: int, ratio: int
) -> None:
    e = embedding(torch.zeros(1, channels, height, width), ratio)[0]
    products = torch.einsum("chw,cij->hwij", e, e)
    torch.testing.assert_close(products[0, 0, 1, 2], products[1, 0, 2, 2])
    torch.testing.assert_close(products[0, 0, 0, 0], torch.tensor(channels / 2))
    others = products.flatten(2).flatten(0, 1).fill_diagonal_(0)
    assert others.max() < channels / 2 - 1e-3


def test_fine_and_coarse_places_agree() -> None:
    """A coarse pixel's centre is the mean of the fine ones' under it."""
    fine, coarse = (embedding(torch.zeros(1, 4, n, n), 8 // n) for n in (8, 4))
    angle = [torch.atan2(e[0, 0, :, 0], e[0, 1, :, 0]) for e in (fine, coarse)]
    turns = (angle[0].view(4, 2) - angle[1].view(4, 1)).sum(1) / (2 * torch.pi)
    torch.testing.assert_close(turns, turns.round(), rtol=0, atol=1e-5)


@pytest.mark.parametrize("make", [lambda c: PixelSampling(c, ratio=2), ChannelSampling])
def test_unequal_channels_are_refused_and_it_is_said_what_to_do(make: Any) -> None:
    with pytest.raises(ValueError, match=r"equal channels, got \[6, 8\]; project"):
        make((6, 8))


@pytest.mark.parametrize(
    ("branches", "kinds"),
    [
        ("both", {"pixel_sampling", "channel_sampling"}),
        ("pixels", {"pixel_sampling"}),
        ("channels", {"channel_sampling"}),
    ],
)
def test_branches(branches: str, kinds: set[str]) -> None:
    tree = {
        "task": {"semantic": {"classes": 5}},
        "input": [3, 97, 131],
        "encoder": {"stages": {"stages": [{"width": 8, "blocks": [{"conv": {}}]}] * 3}},
        "decoders": {
            "semantic": {
                "neck": {"dual_sampling": {"width": 8, "branches": branches, "cells": 2}},
                "head": {"fused_levels": {}},
            }
        },
    }
    steps, _ = Planner((97, 131)).plan(tree).steps()
    found = [s.leaf.kind.name for s in steps if "sampling" in s.leaf.kind.name]
    assert set(found) == kinds
    assert len(found) == 3 * len(kinds)
