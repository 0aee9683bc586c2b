"""The running average of a network's weights and statistics."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Ema:
    """An exponential moving average of every floating parameter and buffer; whole-number buffers are copied.

    average = d * average + (1 - d) * value with d = min(decay, (1 + step) / (10 + step)), so that a
    short run is not held back by its random start. Averaging batch norm's statistics with the same
    weights keeps them close to the averaged network's own; a constant buffer stays what it is.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.decay = decay
        self.values = {name: value.detach().clone() for name, value in network.state_dict().items()}

    @torch.no_grad()
    def update(self, network: nn.Module, step: int) -> None:
        """Take in the network after `step` (from 0)."""
        weight = 1 - min(self.decay, (1 + step) / (10 + step))
        for name, value in network.state_dict().items():
            average = self.values[name]
            if average.is_floating_point():
                average.lerp_(value, weight)
            else:
                average.copy_(value)

    def load(self, values: Mapping[str, Tensor]) -> None:
        """Go on from saved averages."""
        for name, value in values.items():
            self.values[name].copy_(value)
