"""1x1 convolutions of K candidates at once, as products of their matrices (K, width, C) and maps (N, K * C, H, W)."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd import Function


def pointwise(x: Tensor, matrices: Tensor) -> Tensor:
    """Return each candidate's convolution of its own map, (N, K * width, H, W)."""
    if torch.is_autocast_enabled(x.device.type):
        return torch.matmul(matrices, _apart(x, matrices)).reshape(len(x), -1, *x.shape[2:])
    return _Pointwise.apply(x, matrices)  # type: ignore[no-any-return, no-untyped-call]


class _Pointwise(Function):
    """Maps and matrices are kept for the gradient and nothing else: `matmul` would keep copies of them."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, matrices: Tensor) -> Tensor:
        ctx.save_for_backward(x, matrices)
        return products(matrices, x)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, Tensor | None]:
        x, matrices = ctx.saved_tensors
        by_maps = products(matrices.mT, grad) if ctx.needs_input_grad[0] else None
        return by_maps, by_matrices(grad, x, matrices) if ctx.needs_input_grad[1] else None


def _apart(x: Tensor, matrices: Tensor) -> Tensor:
    """Return (N, K * C, H, W) as (N, K, C, H * W)."""
    return x.reshape(len(x), len(matrices), -1, x.shape[2] * x.shape[3])


def products(matrices: Tensor, x: Tensor) -> Tensor:
    """Return each matrix times its map. Of whichever is larger, matrices or maps, no copies are made."""
    maps = _apart(x, matrices)
    n, count, c, pixels = maps.shape
    if pixels >= c:
        return torch.matmul(matrices, maps).view(n, -1, *x.shape[2:])
    beside = maps.permute(1, 2, 0, 3).reshape(count, c, n * pixels)
    found = torch.bmm(matrices, beside).view(count, -1, n, pixels)
    return found.permute(2, 0, 1, 3).reshape(n, -1, *x.shape[2:])


def by_matrices(grad: Tensor, x: Tensor, matrices: Tensor) -> Tensor:
    """Return the gradient by the matrices."""
    return torch.matmul(_apart(grad, matrices), _apart(x, matrices).mT).sum(0)
