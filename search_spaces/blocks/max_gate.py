"""A gate from the strongest response of each channel, as in NAS-FPN (Ghiasi et al. 2019, section 3.1)."""

from __future__ import annotations

from torch import Tensor, nn

from nas.registry import kind


@kind("max_gate", "part")
class MaxGate(nn.Module):
    """x * sigmoid(max over all pixels of g); inputs: x and g, of equal channels, g of any size.

    NAS-FPN's global pooling is h + max_gate(l, h).
    """

    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()
        if len(channels) != 2 or channels[0] != channels[1]:
            raise ValueError(
                f"max_gate takes a feature and what gates it, of equal channels, got {list(channels)}; "
                "project them to one width first"
            )

    def forward(self, x: Tensor, gate: Tensor) -> Tensor:
        return x * gate.amax((2, 3), keepdim=True).sigmoid()
