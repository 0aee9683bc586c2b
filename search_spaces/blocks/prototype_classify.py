"""CGRSeg's classifier with a gate from the classes' means (Ni et al. 2024, section 3.3), layers as in its code."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from nas.fields import Place
from nas.registry import kind
from search_spaces.blocks.conv import Conv, Dropout
from search_spaces.blocks.precision import at_least_single, without_autocast


def prototypes(x: Tensor, scores: Tensor) -> Tensor:
    """Return a mean of x (N, C, H, W) for each class (N, K, C), pixels weighed by a softmax of its scores over them.

    In single precision: a softmax over all pixels of an image has small shares.
    """
    with without_autocast(x):
        shares = at_least_single(scores).flatten(2).softmax(dim=-1)
        return (shares @ at_least_single(x).flatten(2).mT).to(x.dtype)


@kind("prototype_classify", "part")
class PrototypeClassify(nn.Module):
    """W(x + x * g) with a gate g (N, C, 1, 1) from the classes' prototypes, and these from W's first scores.

    First scores are of a depthwise 1x1 (batch norm, ReLU) of x; a softmax over the classes (1x1 of the prototypes)
    weighs them into one vector, a two-layer perceptron with layer norm makes the gate. Both scores have one weight W;
    whole channels drop out before it. W and the perceptron's last layer start from N(0, 0.01), so gates start at one
    half (the authors' code: that layer at zero). Params: 2C^2 + 8C + 1 + CK + K.
    """

    def __init__(self, channels: int, *, classes: Place[int], dropout: Dropout = 0.1) -> None:
        super().__init__()
        self.spread = Conv(channels, width=channels, kernel=1, groups=channels)
        self.dropout = nn.Dropout2d(dropout)
        self.conv = nn.Conv2d(channels, classes, 1)
        self.score = nn.Linear(channels, 1)
        self.hidden = nn.Linear(channels, channels)
        self.norm = nn.LayerNorm(channels)
        self.gate = nn.Linear(channels, channels)
        for layer in (self.conv, self.gate):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]

    def scores(self, x: Tensor) -> Tensor:
        """Return one score per class and pixel (N, K, H, W)."""
        y: Tensor = self.conv(self.dropout(x))
        return y

    def gates(self, x: Tensor) -> Tensor:
        """Return the gate of each channel, (N, C, 1, 1), between 0 and 1."""
        found = prototypes(x, self.scores(self.spread(x)))
        share: Tensor = self.score(found).softmax(dim=1)
        vector = (share * found).sum(1)
        y: Tensor = self.gate(self.norm(self.hidden(vector)).relu())
        return torch.sigmoid(y)[..., None, None]

    def forward(self, x: Tensor) -> Tensor:
        return self.scores(x + x * self.gates(x))
