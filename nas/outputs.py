"""Results on the meta device of operators that torch works out there in Python, although only a shape is wanted.

Sampling takes 14 ms that way and bilinear resizing 7 ms, where a convolution takes 0.1 ms.
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


OUTPUTS: Mapping[Any, Callable[..., Tensor]] = {
    aten.upsample_bilinear2d.default: _resized,
    aten.grid_sampler_2d.default: _sampled,
}


def run(func: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    """Run an operator, as dispatch modes do; equal in shape, strides and type to what torch gives."""
    output = OUTPUTS.get(func)
    return (
        func(*args, **kwargs) if output is None or not args[0].is_meta else output(*args, **kwargs)
    )
