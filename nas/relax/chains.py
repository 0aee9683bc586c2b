"""Chains: candidates of one form, run layer by layer as one."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from nas.relax.depthwise import Lanes, Taps, depthwise
from nas.relax.forms import Convolution, Depthwise, Form, Norm, Plain, forms
from nas.relax.pointwise import pointwise
from nas.relax.stacks import beside

Layers = tuple[nn.Module, ...]
Named = tuple[tuple[nn.Module, ...], str]
"""Modules and the name of the parameter that is wanted of all of them."""

Stage = Callable[[Tensor, Sequence[Tensor], Tensor | None], Tensor]


@dataclass(frozen=True, eq=False)
class Chain:
    """Candidates side by side in `lanes`: of one form, but for the sizes of depthwise kernels, which rows differ in.

    `before` are layers without parameters, run once for each input; `parameters` are to be stacked.
    """

    lanes: Lanes
    before: Layers
    begins: tuple[Form, ...]
    stages: tuple[Stage, ...]
    parameters: tuple[Named, ...]
    folds: bool

    @property
    def norms(self) -> Iterator[Layers]:
        """The batch norms, stage by stage."""
        return (stage.layers for stage in self.stages if isinstance(stage, _Norms))

    @property
    def buffers(self) -> Iterator[Named]:
        """What the batch norms keep running."""
        return ((layers, name) for layers in self.norms for name in ("running_mean", "running_var"))

    def run(self, x: Tensor, stacks: Sequence[Tensor], scale: Tensor) -> Tensor:
        """Return the sum over rows of scale * candidate: (N, inputs * columns, C, H, W).

        `x` is (N, inputs * C, H, W), after the layers `before`; `scale` (count,). A batch norm at the end takes the
        scale into its weights, so that nothing else is kept for the gradient of either.
        """
        last = len(self.stages) - 1
        for i, stage in enumerate(self.stages):
            x = stage(x, stacks, scale if self.folds and i == last else None)
        rows, inputs, columns = self.lanes
        y = x.reshape(x.shape[0], rows, inputs * columns, -1, *x.shape[-2:])
        if not self.folds:
            y = y * scale.view(rows, inputs * columns, 1, 1, 1)
        return y.sum(1) if rows > 1 else y.squeeze(1)


def chained(candidates: Sequence[Layers], lanes: Lanes, first: int) -> Chain:
    """Return the chain of candidates in the order of `lanes`; its first stack has the number `first`."""
    found = forms(candidates[0])
    assert found is not None
    start = next(i for i, f in enumerate(found) if not isinstance(f, Plain))
    columns = list(zip(*candidates, strict=True))[start:]
    stages: list[Stage] = []
    parameters: list[Named] = []
    rest = list(zip(found[start:], columns, strict=True))
    while rest:
        stage, named = _stage(rest, lanes, first + len(parameters))
        stages.append(stage)
        parameters += named
    folds = isinstance(found[-1], Norm)
    begins = found[:start]
    return Chain(lanes, candidates[0][:start], begins, tuple(stages), tuple(parameters), folds)


def _stage(rest: list[tuple[Form, Layers]], lanes: Lanes, at: int) -> tuple[Stage, list[Named]]:
    """Take the next stage away from what is left of a chain; return it and what it stacks, from number `at` on."""
    form, layers = rest.pop(0)
    match form:
        case Plain():
            return _Same(layers[0]), []
        case Norm():
            return _Norms(layers, form, at), [(layers, "weight"), (layers, "bias")]  # type: ignore[arg-type]
        case Convolution():
            return _Convolution(form, lanes, at), [(layers, "weight")]
    runs = [tuple(run) for _, run in groupby(layers, key=_kernel)]
    named = [(run, "weight") for run in runs]
    after = None
    if rest and isinstance(rest[0][0], Convolution) and rest[0][0].is_pointwise:
        after = at + len(runs)
        named.append((rest.pop(0)[1], "weight"))
    return _Depthwise(form, lanes, slice(at, at + len(runs)), after), named


def _kernel(layer: Any) -> int:
    return int(layer.kernel_size[0])


@dataclass(frozen=True, eq=False, slots=True)
class _Same:
    """A layer that leaves channels apart: one candidate's stands for all."""

    layer: nn.Module

    def __call__(self, x: Tensor, _stacks: Sequence[Tensor], _scale: Tensor | None) -> Tensor:
        y: Tensor = self.layer(x)
        return y


@dataclass(frozen=True, eq=False, slots=True)
class _Depthwise:
    """Depthwise kernels, those of a size in a stack, and the 1x1 convolutions behind them if there are any."""

    form: Depthwise
    lanes: Lanes
    at: slice
    after: int | None

    def __call__(self, x: Tensor, stacks: Sequence[Tensor], _scale: Tensor | None) -> Tensor:
        weights = [_within(w, x, self.form.dilation) for w in stacks[self.at]]
        widest = max(w.shape[-1] for w in weights)
        padded = [_padded(w, (widest - w.shape[-1]) // 2) for w in weights]
        weight = torch.cat(padded) if len(padded) > 1 else padded[0]
        after = None if self.after is None else _matrices(stacks[self.after], self.lanes)
        taps = Taps(self.form.stride, self.form.dilation)
        return depthwise(x, weight, after, self.lanes, taps)


def _padded(weight: Tensor, by: int) -> Tensor:
    return F.pad(weight, [by] * 4) if by else weight


def _matrices(weight: Tensor, lanes: Lanes) -> Tensor:
    return weight.view(lanes.number, -1, weight.shape[1])


@dataclass(frozen=True, eq=False, slots=True)
class _Convolution:
    form: Convolution
    lanes: Lanes
    at: int

    def __call__(self, x: Tensor, stacks: Sequence[Tensor], _scale: Tensor | None) -> Tensor:
        known, weight, padding = self.form, stacks[self.at], self.form.padding
        if known.every > 1:
            x = x[:, :, :: known.every, :: known.every]
        shared = x.shape[1] < self.lanes.number * known.channels
        if known._replace(every=1).is_pointwise and not shared:
            return pointwise(x, _matrices(weight, self.lanes))
        groups = self.lanes.number * known.groups
        if shared and known.groups == 1 and 1 in self.lanes[:2]:
            groups = self.lanes.inputs
        elif shared:
            x = self.lanes.spread(x)
        if known.is_same:
            weight = _within(weight, x, known.dilation[0])
            padding = (known.dilation[0] * (weight.shape[-1] // 2),) * 2
        return F.conv2d(x, weight, None, known.stride, padding, known.dilation, groups)


def _within(weight: Tensor, x: Tensor, dilation: int) -> Tensor:
    """Return "same" padded kernels without the taps that lie beyond the map wherever the centre stands."""
    reach = (max(x.shape[-2:]) - 1) // dilation
    spare = weight.shape[-1] // 2 - reach
    return weight[:, :, spare:-spare, spare:-spare] if spare > 0 else weight


@dataclass(frozen=True, eq=False, slots=True)
class _Norms:
    layers: tuple[nn.BatchNorm2d, ...]
    form: Norm
    at: int

    def __call__(self, x: Tensor, stacks: Sequence[Tensor], scale: Tensor | None) -> Tensor:
        weight, bias = stacks[self.at], stacks[self.at + 1]
        if scale is not None:
            weight = (weight.view(len(scale), -1) * scale[:, None]).view(-1)
            bias = (bias.view(len(scale), -1) * scale[:, None]).view(-1)
        training = self.layers[0].training
        running = [
            [layer.running_mean for layer in self.layers],
            [layer.running_var for layer in self.layers],
        ]
        mean, var = (joined(tensors) for tensors in running)  # type: ignore[arg-type]
        y = F.batch_norm(x, mean, var, weight, bias, training, self.form.momentum, self.form.eps)
        if training:
            for tensors, now in zip(running, (mean, var), strict=True):
                if now.data_ptr() != tensors[0].data_ptr():  # type: ignore[union-attr]
                    torch._foreach_copy_(tensors, now.chunk(len(tensors)))  # type: ignore[arg-type]
        return y


def joined(tensors: Sequence[Tensor]) -> Tensor:
    """Return buffers as one: themselves where they lie side by side, or a copy."""
    if len(tensors) == 1:
        return tensors[0]
    found = beside(tensors)
    return torch.cat(list(tensors)) if found is None else found


def counters(chains: Iterable[Chain]) -> list[Tensor]:
    """Return how many batches each batch norm has seen that is learning."""
    return [
        layer.num_batches_tracked  # type: ignore[misc]
        for chain in chains
        for layers in chain.norms
        if layers[0].training
        for layer in layers
    ]
