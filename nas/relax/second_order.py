"""The second-order gradient of the architecture: of the loss after one more step of the weights.

DARTS (Liu, Simonyan and Yang 2019), eq. 7 and 8: with w' = w - xi * grad_w L_train(w, a), the gradient of
L_val(w'(a), a) is

    grad_a L_val(w', a) - xi * (grad_a L_train(w + eps * v, a) - grad_a L_train(w - eps * v, a)) / (2 * eps)

with v = grad_w' L_val(w', a) and eps = 0.01 / |v|. The step is eq. 7's own, plain descent: the authors' code adds
momentum and weight decay to it, and takes the difference around w', where the derivative is not the one of eq. 7.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor

RADIUS = 0.01
"""How far the weights are moved for the difference, as the length of eps * v: the paper's. With ReLU there are kinks in
between, and the fewer pixels and images a batch has, the more each of them counts."""

Gradients = list[Tensor | None]


def gradients_of(loss: Tensor, of: Sequence[Tensor]) -> Gradients:
    """Return the gradient by each tensor; None for what has no part in the loss."""
    return list(torch.autograd.grad(loss, of, allow_unused=True))


class Ahead(NamedTuple):
    """The loss after a step of the weights, and its gradient by the architecture; None for what has no part in it."""

    loss: Tensor
    gradients: Gradients


def look_ahead(
    weights: Sequence[Tensor],
    learned: Sequence[Tensor],
    train: Callable[[], Tensor],
    valid: Callable[[], Tensor],
    *,
    xi: float,
    radius: float = RADIUS,
    gradients: Callable[[Tensor, Sequence[Tensor]], Gradients] = gradients_of,
) -> Ahead:
    """Return `valid` after the step w - xi * grad of `train`, and its gradient by what is `learned`.

    Both are asked for their loss at the present values of `weights`, which are moved in place and put back exactly;
    `train` must be the same function each time it is called (same images, paths and dropout).
    `gradients` gives those of a loss.
    """
    with kept(weights):
        if xi:
            _move(weights, gradients(train(), weights), -xi)
        loss = valid()
        found = gradients(loss, [*learned, *weights])
    direct, v = found[: len(learned)], found[len(learned) :]
    length = _length(v)
    if not xi or not length > 0:
        return Ahead(loss.detach(), direct)

    def slope() -> Gradients:
        return gradients(train(), learned)

    slopes = _slopes(weights, slope, v=v, eps=radius / length)
    return Ahead(loss.detach(), [_minus(a, b, xi) for a, b in zip(direct, slopes, strict=True)])


@contextmanager
def kept(tensors: Iterable[Tensor]) -> Iterator[None]:
    """Put the values of tensors back at the end, bit by bit."""
    held = [(tensor, tensor.detach().clone()) for tensor in tensors]
    try:
        yield
    finally:
        with torch.no_grad():
            for tensor, value in held:
                tensor.copy_(value)


def _slopes(
    weights: Sequence[Tensor], slope: Callable[[], Gradients], *, v: Gradients, eps: float
) -> Gradients:
    """Return the central difference along v of the architecture's gradient, which `slope` gives.

    That is its mixed second derivative times v.
    """
    ends: list[Gradients] = []
    for side in (eps, -eps):
        with kept(weights):
            _move(weights, v, side)
            ends.append(slope())
    return [
        None if up is None or down is None else (up - down) / (2 * eps)
        for up, down in zip(*ends, strict=True)
    ]


def _move(tensors: Sequence[Tensor], along: Gradients, by: float) -> None:
    with torch.no_grad():
        for tensor, direction in zip(tensors, along, strict=True):
            if direction is not None:
                tensor.add_(direction, alpha=by)


def _length(v: Gradients) -> float:
    """Return the norm of all gradients together."""
    squares = [g.double().square().sum() for g in v if g is not None]
    return float(torch.stack(squares).sum().sqrt()) if squares else 0.0


def _minus(direct: Tensor | None, slope: Tensor | None, xi: float) -> Tensor | None:
    if slope is None:
        return direct
    return -xi * slope if direct is None else direct - xi * slope
