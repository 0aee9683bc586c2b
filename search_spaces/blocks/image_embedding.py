"""What the whole image says, at every pixel: the first half of BiSeNetV2's context embedding (Yu et al. 2021)."""

from __future__ import annotations

from torch import Tensor, nn

from nas.fields import Place
from nas.registry import kind
from search_spaces.blocks.conv import Act, Conv
from search_spaces.blocks.pooling import adaptive_average


@kind("image_embedding", "part")
class ImageEmbedding(nn.Module):
    """Average over the image, batch norm, 1x1 with batch norm and activation, the same at every pixel.

    In training the batch norms need two images, as in `pooled_conv`.
    """

    def __init__(self, channels: int, *, width: Place[int], act: Act = "relu") -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(channels)
        self.conv = Conv(channels, width=width, kernel=1, act=act)

    def forward(self, x: Tensor) -> Tensor:
        y: Tensor = self.conv(self.norm(adaptive_average(x, 1)))
        return y.expand(-1, -1, x.shape[2], x.shape[3])
