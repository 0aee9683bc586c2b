"""Parameters of many modules as one tensor: without a copy where they lie side by side in memory."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function
from torch.autograd.function import FunctionCtx


def beside(tensors: Sequence[Tensor]) -> Tensor | None:
    """Return tensors of one shape that lie side by side as one, which shares their memory; None where they do not."""
    first = tensors[0]
    at, step = first.data_ptr(), first.numel() * first.element_size()
    for tensor in tensors:
        if tensor.data_ptr() != at:
            return None
        at += step
    storage = first.untyped_storage()
    if at > storage.data_ptr() + storage.nbytes() or not first.is_contiguous():
        return None
    shape = (len(tensors) * first.shape[0], *first.shape[1:])
    return first.detach().as_strided(shape, first.stride())


def lay_side_by_side(tensors: Sequence[Tensor]) -> None:
    """Move tensors of one shape into one piece of memory; they stay the objects that they are."""
    if beside(tensors) is not None:
        return
    flat = torch.stack([tensor.detach() for tensor in tensors])
    for tensor, place in zip(tensors, flat, strict=True):
        tensor.data = place


def stacked(groups: Sequence[Sequence[Tensor]]) -> tuple[Tensor, ...]:
    """Return each group of tensors as one, differentiable in all of them."""
    sizes = tuple(len(group) for group in groups)
    return _Stacked.apply(sizes, *(t for group in groups for t in group))  # type: ignore[no-any-return, no-untyped-call]


class _Stacked(Function):
    """All groups in one node: a gradient is handed on as a view of the group's, and nothing is copied."""

    @staticmethod
    def forward(ctx: Any, sizes: tuple[int, ...], *tensors: Tensor) -> tuple[Tensor, ...]:
        ctx.sizes = sizes
        ctx.set_materialize_grads(False)
        found, at = [], 0
        for size in sizes:
            group = tensors[at : at + size]
            joined = beside(group)
            found.append(torch.cat(group) if joined is None else joined)
            at += size
        return tuple(found)

    @staticmethod
    def backward(ctx: FunctionCtx, *grads: Tensor | None) -> tuple[Tensor | None, ...]:
        found: list[Tensor | None] = [None]
        for size, grad in zip(ctx.sizes, grads, strict=True):  # type: ignore[attr-defined]
            found += [None] * size if grad is None else grad.chunk(size)
        return tuple(found)
