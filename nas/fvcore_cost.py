"""fvcore's total, from a real forward pass: the second opinion on our MACs, and what many papers print.

fvcore adds normalisation and resampling, so the two agree on convolutions and matrix products only. It has no formula
for some of those (attention first of all): `nas.fvcore_handles` gives it one, and `added` says what that brought.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.architecture import Architecture
from nas.errors import NasError
from nas.fvcore_handles import ADDED, HANDLES, MULTIPLY_ADDS
from nas.memory import peak_inference
from nas.plan import Planner

if TYPE_CHECKING:
    from torch import Tensor, nn

MEMINFO = Path("/proc/meminfo")


@dataclass(frozen=True, slots=True)
class FvcoreCost:
    """fvcore's total (multiply-adds) with the share of convolutions and matrix products, and what it left out.

    `added` is the part of both, by operator, that fvcore by itself has no formula for: papers print the total without
    it. `uncounted` are operators without any formula, and how often each ran.
    """

    total: int
    convolutions: int
    by_operator: Mapping[str, int]
    added: Mapping[str, int]
    uncounted: Mapping[str, int]


def memory_needed(architecture: Architecture | Mapping[str, Any], size: tuple[int, int]) -> int:
    """Estimate the bytes that fvcore's forward pass takes: activations alive at once, and the weights."""
    plan = Planner(size).plan(architecture)
    return peak_inference(plan) + 4 * plan.params


def memory_available() -> int | None:
    """Return the bytes that this machine can still give, None where it does not say."""
    if not MEMINFO.is_file():
        return None
    for line in MEMINFO.read_text().splitlines():
        name, _, rest = line.partition(":")
        if name == "MemAvailable":
            return int(rest.split()[0]) * 1024
    return None


def refuse_without_memory(needed: int, available: int | None) -> None:
    """Raise NasError where a forward pass of `needed` bytes does not fit into what is `available`."""
    if available is not None and needed > available:
        raise NasError(
            f"fvcore runs the network on a real image: that takes about {needed / 2**30:.1f} GiB, and "
            f"{available / 2**30:.1f} GiB are available; take a smaller --input (our own count needs no memory), "
            "or --force to try it all the same"
        )


def fvcore_cost(
    architecture: Architecture | Mapping[str, Any], size: tuple[int, int]
) -> FvcoreCost:
    """Count one evaluation of one image of `size` (H, W) with fvcore."""
    import torch

    from nas.network import build

    network = build(architecture, size, seed=0).eval().requires_grad_(False)
    return count(network, torch.zeros(1, 3, *size))


def count(module: nn.Module, x: Tensor) -> FvcoreCost:
    """Count one run of any module in evaluation mode on `x`, with our handles beside fvcore's own."""
    import torch
    from fvcore.nn import FlopCountAnalysis

    with torch.no_grad():
        analysis = FlopCountAnalysis(module, x).set_op_handle(**HANDLES)
        analysis.unsupported_ops_warnings(False).uncalled_modules_warnings(False)
        by_operator = {name: int(n) for name, n in analysis.by_operator().items()}
        uncounted = dict(analysis.unsupported_ops())
    return FvcoreCost(
        total=sum(by_operator.values()),
        convolutions=sum(n for name, n in by_operator.items() if name in MULTIPLY_ADDS),
        by_operator=by_operator,
        added={name: n for name, n in by_operator.items() if name in ADDED},
        uncounted=uncounted,
    )
