"""Losses by the name that a recipe gives them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from search_spaces.losses.cross_entropy import cross_entropy, ohem

Loss = Callable[[Tensor, Tensor, int], Tensor]
LOSSES: dict[str, Loss] = {"cross_entropy": cross_entropy, "ohem": ohem}

__all__ = ["LOSSES", "Loss", "cross_entropy", "ohem"]
