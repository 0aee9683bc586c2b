"""Cross entropy per pixel, over all pixels or over the hard ones only."""

from __future__ import annotations

import math

import torch.nn.functional as F
from torch import Tensor

from nas.parallel.ranks import ALONE, Ranks

THRESHOLD = 0.7
LEAST_SHARE = 1 / 16
SMALLEST = 1e-30  # log of 0 is none


def cross_entropy(logits: Tensor, target: Tensor, ignore: int, ranks: Ranks = ALONE) -> Tensor:
    """Return the mean cross entropy of logits (N, K, H, W) and labels (N, H, W) over pixels that are not `ignore`.

    A batch without a single such pixel has loss 0 (and gradient 0), not NaN.
    """
    total = F.cross_entropy(logits.float(), target, ignore_index=ignore, reduction="sum")
    return ranks.sum(total) / ranks.sum((target != ignore).sum()).clamp(min=1)


def ohem(
    logits: Tensor,
    target: Tensor,
    ignore: int,
    ranks: Ranks = ALONE,
    *,
    threshold: float = THRESHOLD,
    least: float = LEAST_SHARE,
) -> Tensor:
    """Return the mean cross entropy over hard pixels: those whose true class has less than `threshold`.

    At least the share `least` of the labelled pixels, the hardest, is taken.
    Online hard example mining as segmentation codes use it after Shrivastava et al., CVPR 2016.
    """
    own = F.cross_entropy(logits.float(), target, ignore_index=ignore, reduction="none")
    losses: Tensor = ranks.whole(own).flatten()
    valid: Tensor = ranks.whole(target != ignore).flatten()
    fewest = int(valid.sum() * least)
    hard = valid & (losses > -math.log(max(threshold, SMALLEST)))
    if hard.sum() < fewest:
        return losses.topk(fewest).values.mean()
    return losses[hard].sum() / hard.sum().clamp(min=1)
