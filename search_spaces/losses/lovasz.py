"""Lovasz-softmax: a surrogate of mean intersection over union (Berman et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor

from nas.parallel.ranks import ALONE, Ranks
from search_spaces.losses.class_shares import class_shares


def lovasz(logits: Tensor, target: Tensor, ignore: int, ranks: Ranks = ALONE) -> Tensor:
    """Return the mean, over classes that occur in the labels, of the Lovasz extension of their Jaccard loss.

    Errors of a class are |truth - probability| per labelled pixel of the whole batch. Largest first, each is multiplied
    by how much the Jaccard loss grows when it is counted as wrong, too. Logits (N, K, H, W), labels (N, H, W).
    """
    probabilities, truth, labelled = class_shares(ranks.whole(logits), ranks.whole(target), ignore)
    errors, order = (truth - probabilities).abs().sort(dim=1, descending=True)
    growth = jaccard_growth(truth.gather(1, order).long(), labelled[order].long())
    losses = (errors * growth).sum(1)
    present = truth.amax(1)
    return (losses * present).sum() / present.sum().clamp(min=1)


def jaccard_growth(truth: Tensor, labelled: Tensor) -> Tensor:
    """Return by how much the Jaccard loss of each class grows with each pixel that is wrong beside those before it.

    (K, P), whole numbers of 0 and 1; pixels that are not labelled add nothing. With n pixels wrong, the loss is
    1 - (true ones not among them) / (all true ones and the false ones among them).
    """
    every = truth.sum(1, keepdim=True)
    kept = every - truth.cumsum(1)
    union = every + (labelled - truth).cumsum(1)
    losses = 1 - kept / union.clamp(min=1)
    return torch.cat([losses[:, :1], losses[:, 1:] - losses[:, :-1]], dim=1)
