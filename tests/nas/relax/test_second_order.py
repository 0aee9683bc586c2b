"""The second-order gradient against autograd's own through the step of the weights, on functions small enough."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from nas.relax.second_order import kept, look_ahead

Loss = Callable[[list[Tensor], Tensor], Tensor]


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.randn(
        *shape, dtype=torch.double, generator=torch.Generator().manual_seed(seed)
    ).requires_grad_()


def quadratic(seed: int) -> Loss:
    """Three quadratic functions of the weights, mixed: a central difference of their slopes is exact."""
    bends, slopes = drawn(seed, 3, 4, 4).detach(), drawn(seed + 1, 3, 4).detach()

    def loss(weights: list[Tensor], alpha: Tensor) -> Tensor:
        w = torch.cat(weights)
        parts = torch.einsum("i,kij,j->k", w, bends, w) / 2 + slopes @ w
        return alpha.softmax(0) @ parts

    return loss


def smooth(seed: int) -> Loss:
    """A mixture of three smooth operations, and the squared error of what they give."""
    x, y = drawn(seed, 8, 4).detach(), drawn(seed + 1, 8).detach()

    def loss(weights: list[Tensor], alpha: Tensor) -> Tensor:
        z = x @ torch.cat(weights)
        mixed = alpha.softmax(0) @ torch.stack([z.tanh(), z.sin(), z])
        return (mixed - y).square().mean()

    return loss


def exact(train: Loss, valid: Loss, weights: list[Tensor], alpha: Tensor, xi: float) -> Tensor:
    """Return the gradient through the step of the weights."""
    steps = torch.autograd.grad(train(weights, alpha), weights, create_graph=True)
    after = [w - xi * g for w, g in zip(weights, steps, strict=True)]
    return torch.autograd.grad(valid(after, alpha), alpha)[0]


def found(
    train: Loss, valid: Loss, weights: list[Tensor], alpha: Tensor, **how: float
) -> Tensor | None:
    (gradient,) = look_ahead(
        weights, [alpha], lambda: train(weights, alpha), lambda: valid(weights, alpha), **how
    ).gradients
    return gradient


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 10**6), xi=st.floats(1e-4, 0.5))
def test_the_difference_is_autograds_product_with_the_hessian(seed: int, xi: float) -> None:
    weights, alpha = [drawn(seed, 1), drawn(seed + 1, 3)], drawn(seed + 2, 3)
    train, valid = quadratic(seed + 3), quadratic(seed + 5)
    torch.testing.assert_close(
        found(train, valid, weights, alpha, xi=xi),
        exact(train, valid, weights, alpha, xi),
        rtol=1e-9,
        atol=1e-10,
    )


def test_elsewhere_its_error_falls_with_the_square_of_the_radius() -> None:
    weights, alpha = [drawn(0, 1), drawn(1, 3)], drawn(2, 3)
    train, valid = smooth(3), smooth(5)
    wanted = exact(train, valid, weights, alpha, 0.3)
    off = []
    for radius in (0.02, 0.01):
        gradient = found(train, valid, weights, alpha, xi=0.3, radius=radius)
        assert gradient is not None
        off.append(float((gradient - wanted).norm()))
    assert off[0] / off[1] == pytest.approx(4, rel=0.01)
    assert off[1] < 1e-4 * float(wanted.norm())


def test_without_a_step_it_is_the_first_order() -> None:
    weights, alpha = [drawn(0, 1), drawn(1, 3)], drawn(2, 3)
    valid = smooth(5)
    gradient = found(smooth(3), valid, weights, alpha, xi=0.0)
    assert gradient is not None
    assert torch.equal(gradient, torch.autograd.grad(valid(weights, alpha), alpha)[0])


def test_the_second_order_counts() -> None:
    weights, alpha = [drawn(0, 1), drawn(1, 3)], drawn(2, 3)
    first, second = (found(smooth(3), smooth(5), weights, alpha, xi=xi) for xi in (0.0, 0.3))
    assert first is not None
    assert second is not None
    assert float((first - second).norm()) > 0.01 * float(first.norm())


def test_weights_are_put_back_exactly_even_when_it_fails() -> None:
    weights, alpha = [drawn(0, 1), drawn(1, 3)], drawn(2, 3)
    before = [w.detach().clone() for w in weights]
    found(smooth(3), smooth(5), weights, alpha, xi=0.3)
    assert all(torch.equal(a, b) for a, b in zip(before, weights, strict=True))

    def fails(_weights: list[Tensor], _alpha: Tensor) -> Tensor:
        raise RuntimeError("no")

    with pytest.raises(RuntimeError, match="no"):
        found(smooth(3), fails, weights, alpha, xi=0.3)
    assert all(torch.equal(a, b) for a, b in zip(before, weights, strict=True))


def test_what_has_no_part_in_a_loss_has_no_gradient() -> None:
    weights, alpha = [drawn(0, 4)], drawn(2, 3)
    idle = torch.zeros(2, dtype=torch.double, requires_grad=True)
    train = quadratic(3)
    ahead = look_ahead(
        weights,
        [idle, alpha],
        lambda: train(weights, alpha),
        lambda: weights[0].square().sum(),
        xi=0.1,
    )
    assert ahead.gradients[0] is None
    wanted = exact(train, lambda w, a: w[0].square().sum() + 0 * a.sum(), [weights[0]], alpha, 0.1)
    torch.testing.assert_close(ahead.gradients[1], wanted, rtol=1e-9, atol=1e-10)


def test_kept_puts_counts_back_too() -> None:
    norm = torch.nn.BatchNorm2d(3)
    before = {k: v.clone() for k, v in norm.state_dict().items()}
    with kept(norm.buffers()):
        norm(torch.randn(2, 3, 4, 4))
        assert not torch.equal(before["running_mean"], norm.running_mean)
    assert all(torch.equal(before[k], v) for k, v in norm.state_dict().items())
