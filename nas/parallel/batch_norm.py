"""Batch norm whose statistics are those of all ranks' images, on CPUs and GPUs alike."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from nas.parallel.ranks import Ranks

aten = torch.ops.aten


def batch_norm(  # noqa: PLR0917 (called as what it stands for is)
    ranks: Ranks,
    x: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    """Return `F.batch_norm` of this rank's slice (n, C, ...) as it is within the whole batch.

    Raises ValueError as PyTorch does, where all ranks together have one value per channel.
    """
    if not training:
        return F.batch_norm(x, running_mean, running_var, weight, bias, False, momentum, eps)
    count = ranks.number * x.numel() // x.shape[1]
    if count == 1:
        raise ValueError(
            f"Expected more than 1 value per channel when training, got input size {x.shape}"
        )
    mean, var = _statistics(ranks, x.detach())
    if running_mean is not None and running_var is not None:
        running_mean.lerp_(mean.to(running_mean.dtype), momentum)
        running_var.lerp_((var * (count / (count - 1))).to(running_var.dtype), momentum)
    y: Tensor = _Normalised.apply(x, weight, bias, mean, var, eps, ranks)  # type: ignore[no-untyped-call]
    return y


def _statistics(ranks: Ranks, x: Tensor) -> tuple[Tensor, Tensor]:
    """Return mean and variance (C,) over all ranks: the mean of variances, and the variance of means.

    Every rank has as many values as the others, and gets the same bits: what was said is summed in the order of ranks.
    """
    spare = x.new_zeros(2, x.shape[1], dtype=torch.promote_types(x.dtype, torch.float32))
    found = aten.batch_norm_update_stats(
        x, *spare, 0.0
    )  # its results are as precise as what it could update
    means, variances = ranks.all(torch.stack(found)).unbind(1)
    mean = means.mean(0)
    return mean, variances.mean(0) + (means - mean).square().mean(0)


class _Normalised(torch.autograd.Function):
    """y = weight * (x - mean) / sqrt(var + eps) + bias, with the mean and variance of which x is a part.

    With h = (x - mean) / sqrt(var + eps), g = dL/dy and averages E over the whole batch (Ioffe and Szegedy 2015,
    section 3, written out): dL/dx = weight / sqrt(var + eps) * (g - E[g] - h * E[g * h]). The first term is what batch
    norm in evaluation mode passes back, with the sums of g and g * h; the others are an evaluation of x itself.
    """

    @staticmethod
    def forward(  # noqa: PLR0917 (autograd has no keywords)
        ctx: Any,
        x: Tensor,
        weight: Tensor | None,
        bias: Tensor | None,
        mean: Tensor,
        var: Tensor,
        eps: float,
        ranks: Ranks,
    ) -> Tensor:
        ctx.save_for_backward(x, weight, mean, var)
        ctx.eps, ctx.ranks, ctx.biased = eps, ranks, bias is not None
        return F.batch_norm(x, mean, var, weight, bias, False, 0.0, eps)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        x, weight, mean, var = ctx.saved_tensors
        known = (weight, mean, var, None, None, False, ctx.eps, [True] * 3)
        dx, scaled, summed = aten.native_batch_norm_backward(gradients[0], x, *known)
        count = ctx.ranks.number * x.numel() // x.shape[1]
        means = torch.stack([scaled, summed]).to(mean.dtype)
        ctx.ranks.add(means)
        means *= -(var + ctx.eps).rsqrt() / count
        if weight is not None:
            means *= weight
        slope, shift = means
        dx += F.batch_norm(x, mean, var, slope, shift, False, 0.0, ctx.eps)
        none = (None,) * 4
        return dx, None if weight is None else scaled, summed if ctx.biased else None, *none
