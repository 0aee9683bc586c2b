"""Dynamic dual sampling: attention to a few sampled pixels, and to a few sampled channels (DDSM, Shi et al. 2021)."""

from __future__ import annotations

import itertools
import math
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.fields import Odd, Place, Positive
from nas.registry import kind
from search_spaces.blocks.flow_align import FromBoth, moved_grid, sampled
from search_spaces.blocks.pooling import adaptive_average
from search_spaces.blocks.precision import at_least_single

Choose = Literal["offsets", "highest"]
LONGEST = 10_000.0


def embedding(like: Tensor, step: int) -> Tensor:
    """Return sinusoids of every pixel's centre (1, C, H, W) for a map like `like`, whose pixels are `step` units wide.

    A quarter of the channels each: sine and cosine of y, sine and cosine of x, with wave lengths from 2 pi units to
    10,000 times as much. The product of two embeddings depends on the distance of their places alone.
    """
    channels, height, width = like.shape[1:]
    waves = -(-channels // 4)
    exponents = torch.arange(waves, device=like.device, dtype=torch.float32) / waves
    speeds = torch.exp(-math.log(LONGEST) * exponents).view(-1, 1)
    axes = []
    for size in (height, width):
        places = (torch.arange(size, device=like.device, dtype=torch.float32) + 0.5) * step
        axes.append(torch.cat([(speeds * places).sin(), (speeds * places).cos()]))
    rows = axes[0].unsqueeze(2).expand(-1, height, width)
    columns = axes[1].unsqueeze(1).expand(-1, height, width)
    both = torch.cat([rows, columns]).unsqueeze(0)
    return both[:, :channels].to(like.dtype)


class Sampled(nn.Module):
    """Attention of every place of a map to window^2 sampled places of maps of the same size.

    `offsets`: to the window around it, each of whose places is moved by what a 3x3 convolution of the keys says (zero
    at the start), and read bilinearly. `highest`: of a window two places larger, to those window^2 whose keys have the
    highest product with the query. Beyond the border the border's value holds.
    """

    shifts: Tensor

    def __init__(self, keys: int, window: int, choose: Choose) -> None:
        super().__init__()
        if choose == "highest" and window < 3:
            raise ValueError(
                f"choosing the `highest` needs a window of 3 at least, got {window}: a single sample has the whole "
                "share whatever its score, so that nothing is learned of where to look"
            )
        reach = window // 2 + (choose == "highest")
        steps = range(-reach, reach + 1)
        self.number = window * window
        shifts = [(float(x), float(y)) for y, x in itertools.product(steps, steps)]
        self.register_buffer("shifts", torch.tensor(shifts), persistent=False)
        self.offsets: nn.Conv2d | None = None
        if choose == "offsets":
            self.offsets = nn.Conv2d(keys, 2 * self.number, 3, padding=1)
            nn.init.zeros_(self.offsets.weight)
            nn.init.zeros_(self.offsets.bias)  # type: ignore[arg-type]

    def places(self, key: Tensor) -> list[Tensor]:
        """Return, for each sample, where it lies, as a grid (N, H, W, 2)."""
        batch, (height, width) = key.shape[0], key.shape[-2:]
        moves = self.shifts.view(-1, 2, 1, 1).expand(batch, -1, -1, height, width)
        if self.offsets is not None:
            offsets = self.offsets(key).float()
            moves = moves + offsets.reshape(batch, -1, 2, height, width)
        return list(moved_grid(2 * moves).unbind(1))

    def shares(self, query: Tensor, key: Tensor, places: list[Tensor]) -> Tensor:
        """Return softmax over samples of query . key: (N, samples, H, W), those that are not chosen zero."""
        products = [(query * sampled(key, place)).sum(1) for place in places]
        scores = at_least_single(torch.stack(products, dim=1))
        if self.offsets is None:
            best = scores.topk(self.number, dim=1)
            none = torch.full_like(scores, -torch.inf)
            scores = none.scatter(1, best.indices, best.values)
        return scores.softmax(dim=1)

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        places = self.places(key)
        first, *others = self.shares(query, key, places).to(value.dtype).unsqueeze(2).unbind(1)
        total = first * sampled(value, places[0])
        for share, place in zip(others, places[1:], strict=True):
            total = total + share * sampled(value, place)
        return total


@kind("pixel_sampling", "part")
class PixelSampling(nn.Module):
    """(fine, coarse) to what every fine pixel gathers of the coarse map at pixels sampled for it, at the fine size.

    W_o sum_n softmax_n(theta(p) . phi(p_n)) g(p_n) over `window`^2 pixels p_n, which `choose` finds (`Sampled`). theta
    is a 1x1 of the fine map, g of the coarse one, phi of both, after sinusoidal embeddings are added to the two and the
    coarse one is resized. `ratio` is the coarse stride over the fine one.
    From the published figure (Fantasticarl/DDSM 6025d49; there is no code), which draws nine moved pixels: how they are
    moved is ours, after dynamic graph message passing. The figure has no `highest`. Not counted as MACs are the
    products of sampled keys and values, 2 window^2 C per pixel: they are taken sample by sample, never as one matrix.
    Params with offsets, n = window^2: 5C^2 + 4C + 18nC + 2n.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        *,
        ratio: Place[int],
        window: Odd = 3,
        choose: Choose = "offsets",
    ) -> None:
        super().__init__()
        c = equal("pixel_sampling", channels)
        self.ratio = ratio
        self.theta = nn.Conv2d(c, c, 1)
        self.phi = FromBoth(
            c, c, 1, bias=choose == "offsets"
        )  # elsewhere its bias would cancel in the softmax
        self.value = nn.Conv2d(c, c, 1)
        self.sampled = Sampled(c, window, choose)
        self.project = nn.Conv2d(c, c, 1)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        low = low + embedding(low, 1)
        high = raised(high + embedding(high, self.ratio), low)
        found = self.sampled(self.theta(low), self.phi(low, high), self.value(high))
        y: Tensor = self.project(found)
        return y


@kind("channel_sampling", "part")
class ChannelSampling(nn.Module):
    """(fine, coarse) to mixtures of the coarse map's channels, each of a few that are sampled for it, at the fine size.

    Both maps are averaged over `cells` x `cells` cells; theta is a 1x1 of the fine one, phi of both. A channel c
    attends to `window`^2 channels c_n by softmax_n(theta_c . phi_(c_n)), products over cells, and gathers the coarse
    map's own channels c_n. To be sampled like pixels (`Sampled`), channels are laid out on a grid, as square as their
    number allows. From the published figure, like `pixel_sampling`; the figure's grid is square. Params with offsets,
    n = window^2: 3C^2 + 2C + 18n cells^2 + 2n.
    """

    def __init__(
        self,
        channels: tuple[int, ...],
        *,
        cells: Positive = 8,
        window: Odd = 3,
        choose: Choose = "offsets",
    ) -> None:
        super().__init__()
        c = equal("channel_sampling", channels)
        self.cells, self.grid = cells, grid(c)
        self.theta = nn.Conv2d(c, c, 1)
        self.phi = FromBoth(c, c, 1, bias=choose == "offsets")
        self.sampled = Sampled(cells * cells, window, choose)

    def laid_out(self, x: Tensor) -> Tensor:
        """Return a map (N, C, H, W) as a map of its channels (N, HW, rows, columns)."""
        return x.flatten(2).mT.reshape(x.shape[0], -1, *self.grid)

    def forward(self, low: Tensor, high: Tensor) -> Tensor:
        fine, coarse = (adaptive_average(x, self.cells) for x in (low, high))
        query, key = self.laid_out(self.theta(fine)), self.laid_out(self.phi(fine, coarse))
        mixed = self.sampled(query, key, self.laid_out(high))
        return raised(mixed.flatten(2).mT.reshape(high.shape), low)


def grid(channels: int) -> tuple[int, int]:
    """Return rows and columns whose product is `channels`, as close to each other as can be, rows not more."""
    rows = max(r for r in range(1, math.isqrt(channels) + 1) if channels % r == 0)
    return rows, channels // rows


def raised(x: Tensor, like: Tensor) -> Tensor:
    """Resize x bilinearly to the size of `like`."""
    return F.interpolate(x, size=like.shape[-2:], mode="bilinear", align_corners=False)


def equal(name: str, channels: tuple[int, ...]) -> int:
    """Return the number of channels that both features have; raises ValueError where they are not two or differ."""
    if len(channels) != 2 or channels[0] != channels[1]:
        raise ValueError(
            f"{name} takes a fine and a coarse feature of equal channels, got {list(channels)}; "
            "project them to one width first"
        )
    return channels[0]
