"""Dice loss (Milletari et al. 2016, V-Net)."""

from __future__ import annotations

from torch import Tensor

from nas.parallel.ranks import ALONE, Ranks
from search_spaces.losses.class_shares import class_shares


def dice(
    logits: Tensor, target: Tensor, ignore: int, ranks: Ranks = ALONE, *, smooth: float = 1.0
) -> Tensor:
    """Return the mean over classes of 1 - (2 sum pg + s) / (sum p^2 + sum g^2 + s), sums over all labelled pixels.

    p are probabilities, g is 1 where the class is true, s is `smooth`: a class that is nowhere, and predicted nowhere,
    has loss 0. Section 3 of the paper has one class, and s = 0. Logits (N, K, H, W), labels (N, H, W).
    """
    probabilities, truth, _ = class_shares(logits, target, ignore)
    overlap = ranks.sum((probabilities * truth).sum(1))
    sizes = ranks.sum(probabilities.square().sum(1) + truth.sum(1))
    return (1 - (2 * overlap + smooth) / (sizes + smooth)).mean()
