"""Our count, fvcore with our handles, and torch's counter against counts made by hand, operator by operator."""

from __future__ import annotations

from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass
from math import prod
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from nas.fvcore_cost import count
from nas.fvcore_handles import ADDED, einsum_macs
from nas.meter import Meter

N, C, H, W = 2, 4, 9, 11
IMAGE = (N, C, H, W)
HEADS = (2, 3, 7, 8)
SEQUENCE = (2, 7, 8)


class Calls(nn.Module):
    """Any function as a module, with the modules that it calls."""

    def __init__(self, function: Callable[..., Tensor], *modules: nn.Module) -> None:
        super().__init__()
        self.function = function
        self.inner = nn.ModuleList(modules)

    def forward(self, x: Tensor) -> Tensor:
        return self.function(x, *self.inner)


@dataclass(frozen=True)
class Case:
    """A module, the shape of its input, its multiply-adds made by hand, and whether torch has formulas for it."""

    module: nn.Module
    shape: tuple[int, ...]
    macs: int
    torch_counts: bool = True


def calls(
    function: Callable[..., Tensor], shape: tuple[int, ...], macs: int, torch_counts: bool = True
) -> Case:
    return Case(Calls(function), shape, macs, torch_counts)


def ones(x: Tensor, *shape: int) -> Tensor:
    return torch.ones(shape, device=x.device)


def attend(x: Tensor, attention: nn.Module) -> Tensor:
    y: Tensor = attention(x, x, x, need_weights=False)[0]
    return y


def attend_across(x: Tensor, attention: nn.Module) -> Tensor:
    y: Tensor = attention(x, x[:, :3], x[:, :3])[0]
    return y


CONVOLUTIONS = {
    "plain": Case(nn.Conv2d(4, 6, 3, 2, 1), IMAGE, N * 6 * 4 * 9 * 5 * 6),
    "grouped and dilated": Case(
        nn.Conv2d(4, 8, 3, padding=2, dilation=2, groups=2), IMAGE, N * 8 * 2 * 9 * H * W
    ),
    "one dimension": Case(nn.Conv1d(4, 6, 3, padding=1), (N, C, 9), N * 6 * 4 * 3 * 9),
    "without a batch": Case(nn.Conv2d(4, 6, 3), (C, H, W), 6 * 4 * 9 * 7 * 9),
    "transposed": Case(nn.ConvTranspose2d(4, 6, 3, 2, 1), IMAGE, N * 4 * 6 * 9 * H * W),
    "transposed, output padding": Case(
        nn.ConvTranspose2d(4, 6, 3, 2, 1, output_padding=1, groups=2, dilation=2),
        IMAGE,
        N * 4 * 3 * 9 * H * W,
    ),
    "same": Case(nn.Conv2d(4, 6, 3, padding="same"), IMAGE, N * 6 * 4 * 9 * H * W),
    "same, even kernel": Case(
        nn.Conv2d(4, 6, (4, 2), padding="same"), IMAGE, N * 6 * 4 * 8 * H * W
    ),
    "same, grouped and dilated": Case(
        nn.Conv2d(4, 6, 3, padding="same", dilation=2, groups=2), IMAGE, N * 6 * 2 * 9 * H * W
    ),
    "same, reflecting": Case(
        nn.Conv2d(4, 6, 3, padding="same", padding_mode="reflect"), IMAGE, N * 6 * 4 * 9 * H * W
    ),
    "same, one dimension": Case(nn.Conv1d(4, 6, 3, padding="same"), (N, C, 9), N * 6 * 4 * 3 * 9),
    "same, without a batch": Case(nn.Conv2d(4, 6, 3, padding="same"), (C, H, W), 6 * 4 * 9 * H * W),
    "valid": Case(nn.Conv2d(4, 6, 3, padding="valid"), IMAGE, N * 6 * 4 * 9 * 7 * 9),
}
PRODUCTS = {
    "linear": Case(nn.Linear(8, 5), (3, 8), 3 * 8 * 5),
    "linear, 1-D": Case(nn.Linear(8, 5), (8,), 8 * 5),
    "linear, 3-D": Case(nn.Linear(8, 5), (3, 4, 8), 12 * 8 * 5),
    "linear, 4-D": Case(nn.Linear(8, 5, bias=False), (2, 3, 4, 8), 24 * 8 * 5),
    "mm": calls(lambda x: torch.mm(x, ones(x, 8, 5)), (3, 8), 3 * 8 * 5),
    "addmm": calls(lambda x: torch.addmm(ones(x, 5), x, ones(x, 8, 5)), (3, 8), 3 * 8 * 5),
    "bmm": calls(lambda x: torch.bmm(x, ones(x, 3, 8, 5)), (3, 4, 8), 3 * 4 * 8 * 5),
    "baddbmm": calls(
        lambda x: torch.baddbmm(ones(x, 5), x, ones(x, 3, 8, 5)), (3, 4, 8), 3 * 4 * 8 * 5
    ),
    "addbmm": calls(
        lambda x: torch.addbmm(ones(x, 5), x, ones(x, 3, 8, 5)), (3, 4, 8), 3 * 4 * 8 * 5, False
    ),
    "2-D by 2-D": calls(lambda x: x @ ones(x, 8, 5), (4, 8), 4 * 8 * 5),
    "4-D by 4-D": calls(lambda x: x @ ones(x, 2, 3, 8, 5), (2, 3, 4, 8), 6 * 4 * 8 * 5),
    "4-D by 2-D": calls(lambda x: x @ ones(x, 8, 5), (2, 3, 4, 8), 24 * 8 * 5),
    "2-D by 4-D": calls(lambda x: ones(x, 5, 4) @ x, (2, 3, 4, 8), 6 * 5 * 4 * 8),
    "repeated along the batch": calls(
        lambda x: x @ ones(x, 1, 3, 8, 5), (2, 1, 4, 8), 6 * 4 * 8 * 5
    ),
    "1-D by 4-D": calls(lambda x: ones(x, 4) @ x, (2, 3, 4, 8), 24 * 8),
    "4-D by 1-D": calls(lambda x: x @ ones(x, 8), (2, 3, 4, 8), 24 * 8, False),
    "2-D by 1-D": calls(lambda x: x @ ones(x, 8), (4, 8), 4 * 8, False),
    "1-D by 1-D": calls(lambda x: x @ x, (8,), 8, False),
    "mv": calls(lambda x: torch.mv(x, ones(x, 8)), (4, 8), 4 * 8, False),
    "addmv": calls(lambda x: torch.addmv(ones(x, 4), x, ones(x, 8)), (4, 8), 4 * 8, False),
    "dot": calls(lambda x: torch.dot(x, x), (8,), 8, False),
    "inner": calls(lambda x: torch.inner(x, ones(x, 5, 8)), (2, 3, 8), 6 * 8 * 5),
    "tensordot": calls(lambda x: torch.tensordot(x, ones(x, 4, 8, 5), 2), (2, 3, 4, 8), 6 * 32 * 5),
    "einsum, scores": calls(lambda x: torch.einsum("bhnc,bhmc->bhnm", x, x), HEADS, 6 * 7 * 7 * 8),
    "einsum, 4-D by 2-D": calls(
        lambda x: torch.einsum("bchw,dc->bdhw", x, ones(x, 5, 3)), HEADS, 2 * 5 * 3 * 7 * 8
    ),
    "einsum, weights only": calls(lambda x: torch.einsum("bchw,c->bchw", x, ones(x, 3)), HEADS, 0),
}
ATTENTION = {
    "scaled dot product": calls(
        lambda x: F.scaled_dot_product_attention(x, x[:, :, :5], x[:, :, :5, :6]),
        HEADS,
        6 * 7 * 5 * (8 + 6),
    ),
    "masked": calls(
        lambda x: F.scaled_dot_product_attention(x, x, x, attn_mask=ones(x, 7, 7)),
        HEADS,
        6 * 7 * 7 * 16,
    ),
    "causal": calls(
        lambda x: F.scaled_dot_product_attention(x, x, x, is_causal=True), HEADS, 6 * 7 * 7 * 16
    ),
    "shared keys": calls(
        lambda x: F.scaled_dot_product_attention(x, x[:, :1], x[:, :1], enable_gqa=True),
        HEADS,
        6 * 7 * 7 * 16,
    ),
    "multi-head": Case(
        Calls(attend, nn.MultiheadAttention(8, 2, batch_first=True)),
        SEQUENCE,
        2 * (4 * 7 * 8 * 8 + 2 * 7 * 7 * 8),
    ),
    "multi-head, sequence first": Case(
        Calls(attend, nn.MultiheadAttention(8, 2)), (7, 2, 8), 2 * (4 * 7 * 8 * 8 + 2 * 7 * 7 * 8)
    ),
    "multi-head, fewer keys, with weights": Case(
        Calls(attend_across, nn.MultiheadAttention(8, 2, batch_first=True)),
        SEQUENCE,
        2 * (2 * (7 + 3) * 8 * 8 + 2 * 7 * 3 * 8),
    ),
    "transformer layer": Case(
        nn.TransformerEncoderLayer(8, 2, 16, batch_first=True),
        SEQUENCE,
        2 * (4 * 7 * 8 * 8 + 2 * 7 * 7 * 8 + 2 * 7 * 8 * 16),
    ),
}
CASES = CONVOLUTIONS | PRODUCTS | ATTENTION


def on_meta(case: Case, counter: Any) -> Any:
    with torch.no_grad(), counter:
        deepcopy(case.module).eval().to("meta")(torch.empty(case.shape, device="meta"))
    return counter


@pytest.mark.parametrize("name", CASES)
def test_counts_are_those_made_by_hand(name: str) -> None:
    case = CASES[name]
    fvcore = count(case.module.eval().requires_grad_(False), torch.ones(case.shape))
    assert (
        fvcore.convolutions == fvcore.total - fvcore.by_operator.get("layer_norm", 0) == case.macs
    )
    assert on_meta(case, Meter()).macs == case.macs
    torchs = on_meta(case, FlopCounterMode(display=False)).get_total_flops() // 2
    assert torchs == (case.macs if case.torch_counts else 0)


def test_what_fvcore_has_no_formula_for_is_told_apart() -> None:
    attention = count(ATTENTION["transformer layer"].module.eval(), torch.ones(SEQUENCE))
    assert set(attention.added) == {"_native_multi_head_attention"} <= ADDED
    assert attention.added["_native_multi_head_attention"] < attention.convolutions
    assert not count(CONVOLUTIONS["plain"].module, torch.ones(IMAGE)).added


INDICES = st.text("abcd", min_size=1, max_size=4)


@settings(max_examples=200, deadline=None)
@given(
    st.lists(INDICES, min_size=1, max_size=3),
    st.sets(st.sampled_from("abcd")),
    st.lists(st.integers(1, 4), min_size=4, max_size=4),
    st.booleans(),
)
def test_any_einsum_is_what_torch_makes_of_it(
    terms: list[str], kept: set[str], extents: list[int], dots: bool
) -> None:
    sizes = dict(zip("abcd", extents, strict=True))
    result = "".join(sorted(kept & set("".join(terms))))
    equation = ",".join(terms) + "->" + result
    shapes = [[sizes[index] for index in term] for term in terms]
    if dots:
        equation = equation.replace(terms[0], "..." + terms[0], 1).replace("->", "->...")
        shapes[0] = [2, 3, *shapes[0]]
    with torch.no_grad(), Meter() as meter:
        torch.einsum(equation, *(torch.empty(shape, device="meta") for shape in shapes))
    assert meter.macs == einsum_macs(equation, shapes)


def test_an_einsum_without_a_result_keeps_what_stands_once() -> None:
    assert einsum_macs("ij,jk", [[3, 4], [4, 5]]) == prod((3, 4, 5))
