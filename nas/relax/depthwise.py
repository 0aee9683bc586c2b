"""Depthwise convolutions of many maps at once, alone or with the 1x1 convolutions that follow them."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.autograd import Function

from nas.relax.pointwise import by_matrices, pointwise, products


class Lanes(NamedTuple):
    """How candidates lie along the channels: `rows` x `inputs` x `columns` of them, each of C channels."""

    rows: int
    inputs: int
    columns: int

    @property
    def number(self) -> int:
        """Number of candidates."""
        return self.rows * self.inputs * self.columns

    def spread(self, x: Tensor) -> Tensor:
        """Return every input (N, inputs * C, H, W) once for each candidate that reads it, (N, count * C, H, W)."""
        if self.number == self.inputs:
            return x
        n, c, h, w = x.shape
        rows, inputs, columns = self
        wide = x.reshape(n, 1, inputs, 1, c // inputs, h, w)
        return wide.expand(-1, rows, inputs, columns, -1, -1, -1).reshape(n, -1, h, w)

    def gathered(self, grad: Tensor) -> Tensor:
        """Return the gradient of what was spread: the sum over its copies."""
        if self.number == self.inputs:
            return grad
        n, _, h, w = grad.shape
        return grad.view(n, *self, -1, h, w).sum((1, 3)).view(n, -1, h, w)


ALONE = Lanes(1, 1, 1)


class Taps(NamedTuple):
    """Where a kernel reads: every `stride`-th pixel, taps `dilation` apart, "same" padded."""

    stride: int
    dilation: int


def depthwise(x: Tensor, weight: Tensor, after: Tensor | None, lanes: Lanes, taps: Taps) -> Tensor:
    """Return what each candidate's kernel, (1, k, k) per channel with k odd, makes of its input.

    `x` is (N, inputs * C, H, W) where candidates share inputs, or (N, count * C, H, W); `weight` (count * C, 1, k, k).
    With the matrices `after`, (count, width, C), what 1x1 convolutions make of that.
    """
    if x.shape[1] == weight.shape[0]:
        lanes = ALONE
    if x.device.type == "cpu" and not torch.is_autocast_enabled("cpu"):
        return _Depthwise.apply(x, weight, after, (lanes, taps))  # type: ignore[no-any-return, no-untyped-call]
    y = _convolved(lanes.spread(x), weight, taps)
    return y if after is None else pointwise(y, after)


def _convolved(x: Tensor, weight: Tensor, taps: Taps) -> Tensor:
    pad = taps.dilation * (weight.shape[-1] // 2)
    return F.conv2d(x, weight, None, taps.stride, pad, taps.dilation, x.shape[1])


class _Depthwise(Function):
    """The gradient of a kernel is itself a depthwise convolution: of the input, with the output's gradient as kernel.

    Of oneDNN's own gradient it is 2 to 25 times as fast, the more so the larger maps and batches of channels are. What
    the kernels give is computed again for the gradient of what comes after them, rather than kept.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, after: Tensor | None, how: tuple[Lanes, Taps]
    ) -> Tensor:
        ctx.save_for_backward(x, weight, after)
        ctx.lanes, ctx.taps = lanes, taps = how
        y = _convolved(lanes.spread(x), weight, taps)
        return y if after is None else products(after, y)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, after = ctx.saved_tensors
        by_input = by_weight = by_after = None
        x, grad = ctx.lanes.spread(x), grad.contiguous()
        if after is not None:
            if ctx.needs_input_grad[2]:
                by_after = by_matrices(grad, _convolved(x, weight, ctx.taps), after)
            grad = products(after.mT, grad)
        if ctx.needs_input_grad[0]:
            by_input = ctx.lanes.gathered(_by_input(grad, x, weight, ctx.taps))
        if ctx.needs_input_grad[1]:
            by_weight = _by_weight(grad, x, weight, ctx.taps)
        return by_input, by_weight, by_after, None


def _by_input(grad: Tensor, x: Tensor, weight: Tensor, taps: Taps) -> Tensor:
    pad = [taps.dilation * (weight.shape[-1] // 2)] * 2
    stride, dilation = [taps.stride] * 2, [taps.dilation] * 2
    found, _, _ = torch.ops.aten.convolution_backward(
        grad, x, weight, None, stride, pad, dilation, False, [0, 0], x.shape[1], [True, False, False]
    )  # fmt: skip
    return found  # type: ignore[no-any-return]


def _by_weight(grad: Tensor, x: Tensor, weight: Tensor, taps: Taps) -> Tensor:
    """Return sum over n, h, w of grad[h, w] * x[stride * h + dilation * i - pad, ...] for each tap (i, j)."""
    k, (n, c) = weight.shape[-1], x.shape[:2]
    images, kernels = x.reshape(1, n * c, *x.shape[2:]), grad.reshape(n * c, 1, *grad.shape[2:])
    pad = taps.dilation * (k // 2)
    found = F.conv2d(images, kernels, None, taps.dilation, pad, taps.stride, n * c)[..., :k, :k]
    return found.reshape(n, *weight.shape).sum(0)
