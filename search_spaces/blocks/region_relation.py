"""A pixel and the region above it: attention from a fine map to a window of a coarse one (Bai et al. 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.fields import Odd, Place, Positive
from nas.registry import kind


def windows(x: Tensor, size: int) -> Tensor:
    """Return the size x size neighbours of every pixel of x (N, C, h, w), row by row: (N, C, h, w, size^2).

    Beyond the border they are zero.
    """
    height, width = x.shape[-2:]
    padded = F.pad(x, [size // 2] * 4)
    shifted = [
        padded[:, :, i : i + height, j : j + width] for i in range(size) for j in range(size)
    ]
    return torch.stack(shifted, dim=-1)


def in_blocks(x: Tensor, ratio: int, size: torch.Size) -> Tensor:
    """Return x (N, C, H, W) as the ratio^2 pixels under each of the `size` (h, w) coarse ones: (N, C, h, w, ratio^2).

    h is ceil(H / ratio), w alike; what is missing on the right and below is zero.
    """
    height, width = size
    more = F.pad(x, (0, ratio - 1, 0, ratio - 1))[:, :, : height * ratio, : width * ratio]
    split = more.reshape(*x.shape[:2], height, ratio, width, ratio)
    return split.transpose(3, 4).flatten(4)


def from_blocks(blocks: Tensor, like: Tensor) -> Tensor:
    """Return blocks (N, C, h, w, ratio^2) as a map (N, C, H, W) of the size of `like`: undoes `in_blocks`."""
    n, channels, height, width, pixels = blocks.shape
    ratio = int(pixels**0.5)
    split = blocks.reshape(n, channels, height, width, ratio, ratio).transpose(3, 4)
    more = split.reshape(n, channels, height * ratio, width * ratio)
    return more[:, :, : like.shape[2], : like.shape[3]]


@kind("region_relation", "part")
class RegionRelation(nn.Module):
    """Relational semantics extractor: (fine, coarse) to what each fine pixel gathers of the coarse map around it.

    sum_j a_j v_j over the window of `window` x `window` coarse pixels j around the one that lies over the pixel, with
    a = softmax_j(q (k_j + e_j)) in `heads` groups; `ratio` is the coarse stride over the fine one. Queries and keys
    have `keys` channels, values as many as the coarse map; e, learned, says where in the window j lies, and is zero at
    the start. Neighbours beyond the border take no part.
    Of the paper (arXiv 2106.01744) the abstract says what is related, and no code is published: window, heads, the form
    of e and the missing scale 1 / sqrt(d) are ours, after local relation networks.
    Params, with C_l fine and C coarse channels, K keys, r the window: K (C_l + 1) + KC + C (C + 1) + K r^2.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        *,
        ratio: Place[int],
        window: Odd = 3,
        heads: Positive = 8,
        keys: Positive = 64,
    ) -> None:
        super().__init__()
        if len(channels) != 2:
            raise ValueError(
                f"region_relation takes a fine and a coarse feature, got {len(channels)}"
            )
        low, high = channels
        if keys % heads or high % heads:
            raise ValueError(
                f"region_relation: heads must divide keys and the coarse feature's channels, got {heads} heads, "
                f"{keys} keys and {high} channels; choose a common divisor"
            )
        self.ratio, self.window, self.heads = ratio, window, heads
        self.query = nn.Conv2d(low, keys, 1)
        self.key = nn.Conv2d(high, keys, 1, bias=False)  # a bias would cancel in the softmax
        self.value = nn.Conv2d(high, high, 1)
        self.places = nn.Parameter(torch.zeros(keys, window * window))

    def shares(self, low: Tensor, high: Tensor) -> Tensor:
        """Return a (N, h, w, heads, ratio^2, window^2): for the pixels under each coarse one, the window's shares."""
        query = self._by_head(in_blocks(self.query(low), self.ratio, high.shape[-2:])).mT
        place = self.places.view(-1, 1, 1, self.places.shape[1])
        key = self._by_head(windows(self.key(high), self.window) + place)
        inside = windows(torch.ones_like(high[:1, :1]), self.window)  # (1, 1, h, w, window^2)
        beyond = torch.zeros_like(inside).masked_fill(inside == 0, -torch.inf)
        return ((query @ key) + beyond.permute(0, 2, 3, 1, 4).unsqueeze(4)).softmax(dim=-1)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        value = self._by_head(windows(self.value(high), self.window))
        gathered = value @ self.shares(low, high).mT.to(value.dtype)
        n, height, width, _, _, pixels = gathered.shape
        blocks = gathered.reshape(n, height, width, -1, pixels).permute(0, 3, 1, 2, 4)
        return from_blocks(blocks, low)

    def _by_head(self, x: Tensor) -> Tensor:
        """(N, C, h, w, P) to (N, h, w, heads, C / heads, P)."""
        n, channels, height, width, pixels = x.shape
        split = x.reshape(n, self.heads, channels // self.heads, height, width, pixels)
        return split.permute(0, 3, 4, 1, 2, 5)
