"""Losses by the name that a recipe gives them."""

from __future__ import annotations

from collections.abc import Callable

from torch import Tensor

from search_spaces.losses.cross_entropy import cross_entropy, ohem
from search_spaces.losses.dice import dice
from search_spaces.losses.focal import focal
from search_spaces.losses.lovasz import lovasz

Loss = Callable[..., Tensor]
"""(logits (N, K, H, W), labels (N, H, W), the label that counts nowhere, fields by name) to a scalar.

With `ranks`, logits and labels are one rank's slice, and the scalar is the loss of the whole batch.
"""

LOSSES: dict[str, Loss] = {
    "cross_entropy": cross_entropy,
    "ohem": ohem,
    "focal": focal,
    "dice": dice,
    "lovasz": lovasz,
}

__all__ = ["LOSSES", "Loss", "cross_entropy", "dice", "focal", "lovasz", "ohem"]
