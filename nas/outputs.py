"""Results on the meta device of operators that torch works out there in Python, although only a shape is wanted.

Sampling takes 14 ms that way, bilinear resizing 7 ms and batch norm 1 ms, where a convolution takes 0.1 ms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch._prims_common import suggest_memory_format

aten = torch.ops.aten


def _resized(x: Tensor, size: Sequence[int], *_: Any, **__: Any) -> Tensor:
    made = x.new_empty((*x.shape[:2], *size))
    return made.contiguous(memory_format=suggest_memory_format(x))


def _sampled(x: Tensor, grid: Tensor, *_: Any, **__: Any) -> Tensor:
    return x.new_empty((*x.shape[:2], *grid.shape[1:3]))


def _like_first(x: Tensor, *others: Any, **named: Any) -> Tensor | None:
    """Return a map as the first argument is, None where another argument or a gap in memory may change that."""
    if named or not _is_dense(x) or not all(_keeps(x, other) for other in others):
        return None
    return torch.empty_like(x)


def _normalised(x: Tensor, *parameters: Any, **named: Any) -> tuple[Tensor, Tensor, Tensor] | None:
    """Return what batch norm does: its output, and two statistics per channel in single precision."""
    channels = x.shape[1:2]
    fit = all(p.shape == channels for p in parameters if isinstance(p, Tensor))
    if named or not fit or not _is_dense(x) or x.dtype not in _NORMED:
        return None
    mean, deviation = (x.new_empty(channels, dtype=torch.float32) for _ in range(2))
    return torch.empty_like(x), mean, deviation


def _is_dense(x: Tensor) -> bool:
    return x.is_contiguous() or x.is_contiguous(memory_format=torch.channels_last)


def _keeps(x: Tensor, other: Any) -> bool:
    """Say whether an operator on `x` and this argument gives what `x` is in shape, strides and type."""
    if isinstance(other, Tensor):
        return (other.dtype, other.shape, other.stride()) == (x.dtype, x.shape, x.stride())
    if isinstance(other, float):
        return x.is_floating_point()
    return other is None or (isinstance(other, int | str) and x.dtype is not torch.bool)


_NORMED = {torch.float32, torch.bfloat16, torch.float16}
_ELEMENTWISE = (
    aten.relu.default,
    aten.hardtanh.default,
    aten.hardswish.default,
    aten.gelu.default,
    aten.silu.default,
    aten.sigmoid.default,
    aten.clamp.default,
    aten.pow.Tensor_Scalar,
    aten.add.Tensor,
    aten.sub.Tensor,
    aten.mul.Tensor,
    aten.floor_divide.default,
)
OUTPUTS: Mapping[Any, Callable[..., Any]] = {
    aten.upsample_bilinear2d.default: _resized,
    aten.grid_sampler_2d.default: _sampled,
    aten.native_batch_norm.default: _normalised,
    **dict.fromkeys(_ELEMENTWISE, _like_first),
}


def run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run an operator, as dispatch modes do; equal in shape, strides and type to what torch gives."""
    output = OUTPUTS.get(func)
    if output is not None and args[0].is_meta:
        told = output(*args, **kwargs)
        if told is not None:
            return told
    return func(*args, **kwargs)
