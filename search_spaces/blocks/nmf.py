"""Non-negative matrix factorisation between two 1x1 convolutions: Hamburger (Geng et al. 2021)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.fields import Positive
from nas.registry import kind
from search_spaces.blocks.norms import group_norm
from search_spaces.blocks.precision import at_least_single, without_autocast

EPSILON = 1e-6


def random_bases(channels: int, rank: int) -> Tensor:
    """Return (channels, rank): U(0, 1) from a seed of its own, columns of length one; on the default device."""
    generator = torch.Generator().manual_seed(0)
    bases = torch.rand(channels, rank, generator=generator, device="cpu")
    return F.normalize(bases, dim=0).to(torch.get_default_device())


def updated_codes(x: Tensor, bases: Tensor, codes: Tensor) -> Tensor:
    """C <- C * (X^T D) / (C D^T D): a multiplicative update, which never raises |X - D C^T|."""
    return codes * (x.mT @ bases) / (codes @ (bases.mT @ bases) + EPSILON)


def updated_bases(x: Tensor, bases: Tensor, codes: Tensor) -> Tensor:
    """D <- D * (X C) / (D C^T C)."""
    return bases * (x @ codes) / (bases @ (codes.mT @ codes) + EPSILON)


def factorise(x: Tensor, bases: Tensor, steps: int) -> tuple[Tensor, Tensor]:
    """Return D (N, C, R) and codes (N, P, R) with D @ codes^T close to x (N, C, P); nothing may be negative.

    Starts from `bases` (C, R) and softmax(X^T D); `steps` updates of codes and bases, and of the codes once more.
    Multiply-adds: (2 steps + 3) PCR + (2 steps + 1) (P + C) R^2.
    """
    bases = bases.expand(x.shape[0], -1, -1)
    codes = (x.mT @ bases).softmax(dim=-1)
    for _ in range(steps):
        codes = updated_codes(x, bases, codes)
        bases = updated_bases(x, bases, codes)
    return bases, updated_codes(x, bases, codes)


@kind("nmf", "part")
class Nmf(nn.Module):
    """ReLU(x + GN(W2 NMF(ReLU(W1 x)))): what the whole image has in common, in `rank` vectors (SegNeXt's Hamburger).

    (N, C, H, W) to the same. The gradient flows through all steps, as in SegNeXt's code. There the bases are drawn
    anew at every forward; here they are a seeded buffer, so that an image has one result. The factorisation is
    always computed in single precision, in half it can overflow. Params: 2C^2 + 3C.
    """

    bases: Tensor

    def __init__(
        self,
        channels: int,
        *,
        rank: Positive = 64,
        train_steps: Positive = 6,
        eval_steps: Positive = 7,
    ) -> None:
        super().__init__()
        self.train_steps, self.eval_steps = train_steps, eval_steps
        self.before = nn.Conv2d(channels, channels, 1)
        self.after = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = group_norm(channels)
        self.register_buffer("bases", random_bases(channels, rank))

    def approximate(self, x: Tensor) -> Tensor:
        """Return the product of the factors of x (N, C, H, W), which is not negative."""
        steps = self.train_steps if self.training else self.eval_steps
        with without_autocast(x):
            flat = at_least_single(x).flatten(2)
            bases, codes = factorise(flat, self.bases.to(flat.dtype), steps)
            return (bases @ codes.mT).reshape(x.shape).to(x.dtype)

    def forward(self, x: Tensor) -> Tensor:
        common = self.approximate(self.before(x).relu())
        y: Tensor = x + self.norm(self.after(common))
        return y.relu()
