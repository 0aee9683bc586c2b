"""Cross entropy per pixel, over all pixels or over the hard ones only."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

THRESHOLD = 0.7
LEAST_SHARE = 1 / 16


def cross_entropy(logits: Tensor, target: Tensor, ignore: int) -> Tensor:
    """Return the mean cross entropy of logits (N, K, H, W) and labels (N, H, W) over pixels that are not `ignore`.

    A batch without a single such pixel has loss 0 (and gradient 0), not NaN.
    """
    total = F.cross_entropy(logits.float(), target, ignore_index=ignore, reduction="sum")
    return total / (target != ignore).sum().clamp(min=1)


def ohem(logits: Tensor, target: Tensor, ignore: int) -> Tensor:
    """Return the mean cross entropy over hard pixels: those whose true class has less than 0.7.

    At least 1/16 of the labelled pixels, the hardest, are taken.
    Online hard example mining as segmentation codes use it after Shrivastava et al., CVPR 2016.
    """
    losses = F.cross_entropy(
        logits.float(), target, ignore_index=ignore, reduction="none"
    ).flatten()
    valid = (target != ignore).flatten()
    least = int(valid.sum() * LEAST_SHARE)
    hard = valid & (losses > -math.log(THRESHOLD))
    if hard.sum() < least:
        return losses.topk(least).values.mean()
    return losses[hard].sum() / hard.sum().clamp(min=1)
