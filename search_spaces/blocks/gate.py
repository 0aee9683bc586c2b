"""One feature weighed by another."""

from __future__ import annotations

from torch import Tensor, nn

from nas.registry import kind


@kind("gate", "part")
class Gate(nn.Module):
    """x * sigmoid(g), element by element; inputs: x and g, of one shape."""

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        if len(channels) != 2 or channels[0] != channels[1]:
            raise ValueError(
                f"gate takes a feature and its gate, of equal channels, got {list(channels)}; "
                "project the gate to the feature's width first"
            )

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        return x * gate.sigmoid()
