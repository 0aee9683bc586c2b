"""An activation as a step of its own."""

from __future__ import annotations

from torch import Tensor, nn

from nas.registry import kind
from search_spaces.blocks.conv import Act, activation


@kind("activate", "part")
class Activate(nn.Module):
    """Activation, with `norm` after a batch norm: for features that are read both with and without it."""

    def __init__(self, channels: int, *, act: Act = "relu", norm: bool = False) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels) if norm else nn.Identity()
        self.act = activation(act)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.act(self.norm(x))
        return y
