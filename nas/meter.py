"""Multiply-adds of what runs, operator by operator, from shapes alone: torch's own formulas, and those it lacks."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from nas.outputs import run

aten = torch.ops.aten
Formula = Callable[..., int]


def _matrix_by_vector(matrix: Tensor, *_: Any, **__: Any) -> int:
    return 2 * matrix.numel()


def _sum_of_products(_: Tensor, left: Tensor, right: Tensor, **__: Any) -> int:
    return 2 * left.numel() * right.shape[-1]


VECTORS: Mapping[Any, Formula] = {
    aten.mv: _matrix_by_vector,
    aten.dot: _matrix_by_vector,
    aten.vdot: _matrix_by_vector,
    aten.addmv: lambda _, matrix, *__, **___: 2 * matrix.numel(),
    aten.addbmm: _sum_of_products,
}
"""Flops (two to a multiply-add) of the matrix products that torch's registry leaves out."""

FORMULAS: Mapping[Any, Formula] = {**flop_registry, **VECTORS}


class Meter(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts multiply-adds.

    What `FlopCounterMode` gives, without following modules and decompositions, which take it ten times longer.
    """

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.flops = 0

    @property
    def macs(self) -> int:
        """Multiply-adds so far: two operations are one."""
        return self.flops // 2

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = run(func, args, kwargs)
        count = FORMULAS.get(func.overloadpacket)
        if count is not None:
            self.flops += int(count(*args, **kwargs, out_val=out))
        return out
