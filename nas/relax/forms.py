"""Forms of layers: what tells whether layers of several candidates can run as one."""

from __future__ import annotations

from collections.abc import Hashable, Sequence
from itertools import chain
from typing import NamedTuple

from torch import nn

APART = (
    nn.Identity,
    nn.ReLU,
    nn.ReLU6,
    nn.LeakyReLU,
    nn.SiLU,
    nn.GELU,
    nn.Hardswish,
    nn.Hardsigmoid,
    nn.Sigmoid,
    nn.Tanh,
    nn.AvgPool2d,
    nn.MaxPool2d,
)
"""Layers that treat every channel on its own."""


class Plain(NamedTuple):
    """A layer without parameters, told by its class and its public attributes."""

    of: type[nn.Module]
    attributes: tuple[tuple[str, Hashable], ...]


class Convolution(NamedTuple):
    """A convolution without bias that takes every `every`-th pixel first."""

    channels: int
    width: int
    kernel: tuple[int, int]
    stride: tuple[int, int]
    padding: tuple[int, int]
    dilation: tuple[int, int]
    groups: int
    every: int

    @property
    def is_pointwise(self) -> bool:
        """Whether every pixel is mapped by itself, and none left out."""
        steps = self.kernel, self.stride, self.padding
        return steps == ((1, 1), (1, 1), (0, 0)) and self.groups == self.every == 1

    @property
    def is_same(self) -> bool:
        """Whether kernels are square and odd, and padded so that sizes stay at stride 1."""
        k, dilation = self.kernel[0], self.dilation[0]
        sides = self.kernel, self.dilation, self.padding
        return k % 2 == 1 and sides == ((k, k), (dilation, dilation), (dilation * (k // 2),) * 2)


class Depthwise(NamedTuple):
    """A depthwise convolution, "same" padded. Smaller kernels are larger ones with zeros: `kernel` may be left out."""

    channels: int
    stride: int
    dilation: int
    kernel: int | None


class Norm(NamedTuple):
    """A batch norm with weights and running statistics."""

    channels: int
    eps: float
    momentum: float


Form = Plain | Convolution | Depthwise | Norm


def form(layer: nn.Module) -> Form | None:
    """Return the form of a layer; None where it can only run by itself."""
    if isinstance(layer, nn.Conv2d):
        return _convolution(layer)
    if type(layer) is nn.BatchNorm2d:
        whole = layer.affine and layer.track_running_stats and layer.momentum is not None
        return Norm(layer.num_features, layer.eps, layer.momentum) if whole else None  # type: ignore[arg-type]
    if any(True for _ in chain(layer.parameters(), layer.buffers(), layer.children())):
        return None
    if isinstance(layer, nn.modules.dropout._DropoutNd):  # noqa: SLF001 (there is no public name)
        return None
    known = {k: v for k, v in vars(layer).items() if k[0] != "_" and k != "training"}
    hashable = all(isinstance(v, Hashable) for v in known.values())
    return Plain(type(layer), tuple(sorted(known.items()))) if hashable else None


def _convolution(layer: nn.Conv2d) -> Form | None:
    if layer.bias is not None or layer.padding_mode != "zeros" or isinstance(layer.padding, str):
        return None
    every = getattr(layer, "every", 1)
    k, stride, dilation = layer.kernel_size[0], layer.stride[0], layer.dilation[0]
    same = {
        "kernel_size": k,
        "stride": stride,
        "padding": dilation * (k // 2),
        "dilation": dilation,
    }
    square = all(getattr(layer, name) == (value, value) for name, value in same.items())
    depthwise = layer.groups == layer.in_channels == layer.out_channels
    if depthwise and square and k % 2 and every == 1:
        return Depthwise(layer.in_channels, stride, dilation, k)
    sizes = layer.kernel_size, layer.stride, layer.padding, layer.dilation
    return Convolution(layer.in_channels, layer.out_channels, *sizes, layer.groups, every)  # type: ignore[arg-type]


def forms(layers: Sequence[nn.Module]) -> tuple[Form, ...] | None:
    """Return the forms of layers that can run beside others of their forms; None where they cannot.

    What comes before the first parameter is run once for all; what comes after must leave channels apart.
    """
    found: list[Form] = []
    first = None
    for i, layer in enumerate(layers):
        known = form(layer)
        if known is None:
            return None
        if not isinstance(known, Plain):
            first = i if first is None else first
        elif first is not None and known.of not in APART:
            return None
        found.append(known)
    return tuple(found) if first is not None else None


def loose(found: Sequence[Form]) -> tuple[Form, ...]:
    """Return forms without the sizes of depthwise kernels."""
    return tuple(f._replace(kernel=None) if isinstance(f, Depthwise) else f for f in found)
