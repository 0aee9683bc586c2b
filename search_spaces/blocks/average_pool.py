"""Average pooling by windows."""

from __future__ import annotations

from torch import Tensor, nn

from nas.fields import Odd, Place
from nas.registry import kind


@kind("avg_pool", "part")
class AvgPool(nn.Module):
    """Mean over kernel x kernel windows: (N, C, H, W) to (N, C, ceil(H / stride), ceil(W / stride)).

    Zeros of the padding count as values, so a window over the border has a smaller mean (PyTorch's default, with which
    DDRNet was trained).
    """

    def __init__(self, channels: int, *, stride: Place[int] = 2, kernel: Odd = 3) -> None:  # noqa: ARG002
        super().__init__()
        self.pool = nn.AvgPool2d(kernel, stride, kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.pool(x)
        return y
