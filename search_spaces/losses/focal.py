"""Focal loss (Lin et al. 2017)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.parallel.ranks import ALONE, Ranks

SMALLEST = 1e-8


def focal(
    logits: Tensor, target: Tensor, ignore: int, ranks: Ranks = ALONE, *, gamma: float = 2.0
) -> Tensor:
    """Return the mean of (1 - p)^gamma (-log p), p the true class's probability, over pixels that are not `ignore`.

    Equation 4, for softmax, without weights for classes; `gamma` 0 is cross entropy. Logits (N, K, H, W), labels
    (N, H, W). 1 - p is held above 1e-8, where its power has no steeper slope than can be computed with.
    """
    losses = F.cross_entropy(logits.float(), target, ignore_index=ignore, reduction="none")
    missing = (-torch.expm1(-losses)).clamp(min=SMALLEST)
    total = ranks.sum((missing**gamma * losses).sum())
    return total / ranks.sum((target != ignore).sum()).clamp(min=1)
