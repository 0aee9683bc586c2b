"""What losses of overlap compare: predicted and true shares of every class."""

from __future__ import annotations

import torch
from torch import Tensor


def class_shares(logits: Tensor, target: Tensor, ignore: int) -> tuple[Tensor, Tensor, Tensor]:
    """Return, over all pixels P of a batch: probabilities (K, P), truth (K, P) of 0 and 1, and what is labelled (P,).

    Logits (N, K, H, W), labels (N, H, W). At a pixel that is `ignore` probabilities and truth are zero.
    """
    labels, labelled = target.flatten(), (target != ignore).flatten()
    classes = torch.arange(logits.shape[1], device=logits.device).unsqueeze(1)
    truth = ((labels == classes) & labelled).float()
    probabilities = logits.float().softmax(dim=1).transpose(0, 1).flatten(1)
    return probabilities.masked_fill(~labelled, 0), truth, labelled
