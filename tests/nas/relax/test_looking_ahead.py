"""A supernet of second order: autograd's gradient through a step of its weights, which it leaves as they were."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor

from nas.errors import TrainingError
from nas.relax.second_order import look_ahead
from nas.relax.supernet import Supernet
from tests.nas.relax.supernets import images, logits, loss, supernet


def taught(net: Supernet, lr: float) -> list[Tensor]:
    """Return the architecture's gradient of one step, the weights learning at `lr`."""
    seen: list[Tensor] = []
    parameters = list(net.architecture.parameters())

    def keep(*_: Any) -> None:
        seen.extend(torch.zeros_like(p) if p.grad is None else p.grad for p in parameters)

    net._optimizer.step = keep  # type: ignore[method-assign, assignment]
    net.teach(*next(images(7)), loss, batch=next(images(3)), lr=lr)
    return [g.clone() for g in seen]


def still(net: Supernet) -> Supernet:
    """Return it in training, without dropout."""
    for module in net.modules():
        if isinstance(module, torch.nn.Dropout | torch.nn.Dropout2d):
            module.p = 0.0
    return net.train()


@pytest.mark.parametrize("form", ["softmax", "gumbel"])
def test_without_a_step_it_is_the_first_order(form: str) -> None:
    through = {"form": form, "gradient": "straight_through"}
    first, ahead = still(supernet(**through)), still(supernet(**through, order=2))
    torch.randint(2**62, (), generator=first._generator)  # the seed of dropout, before the path
    pairs = zip(taught(first, 0.0), taught(ahead, 0.0), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("form", ["softmax", "gumbel"])
def test_weights_and_buffers_are_left_as_they_were(form: str) -> None:
    net = supernet(form=form, order=2).train()
    before = {k: v.clone() for k, v in net.network.state_dict().items()}
    alphas, global_state = logits(net), torch.get_rng_state()
    net.teach(*next(images(7)), loss, batch=next(images(3)), lr=0.1)
    for name, value in net.network.state_dict().items():
        assert torch.equal(before[name], value), name
    assert all(p.grad is None for p in net.network.parameters())
    assert torch.equal(global_state, torch.get_rng_state())
    assert any(not torch.equal(a, b) for a, b in zip(alphas, logits(net), strict=True))


def exact(net: Supernet, lr: float) -> list[Tensor]:
    """Return autograd's gradient through the step, by a functional call with the weights after it."""
    weights = {k: p for k, p in net.network.named_parameters() if p.requires_grad}
    learned = list(net.architecture.parameters())

    def run(values: dict[str, Tensor], batch: tuple[Tensor, Tensor]) -> Tensor:
        drawn = net.architecture.softmax()
        output = torch.func.functional_call(net.network, values, (batch[0].double(), drawn))
        return loss(output, batch[1])

    steps = torch.autograd.grad(
        run(weights, next(images(3))), list(weights.values()), create_graph=True, allow_unused=True
    )
    after = {
        k: p if g is None else p - lr * g for (k, p), g in zip(weights.items(), steps, strict=True)
    }
    found = torch.autograd.grad(run(after, next(images(7))), learned, allow_unused=True)
    return [torch.zeros_like(p) if g is None else g for p, g in zip(learned, found, strict=True)]


def test_it_is_autograds_gradient_through_the_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """In double precision, with a radius so small that no kink of ReLU lies in between."""
    net = still(supernet(order=2).double())
    net.architecture.double()
    first, second = exact(net, 0.0), exact(net, 0.5)
    net.network.forward = _doubled(net.network.forward)  # type: ignore[method-assign]
    monkeypatch.setattr("nas.relax.supernet.look_ahead", partial(look_ahead, radius=1e-6))
    found = taught(net, 0.5)
    assert _distance(found, second) < 1e-6 * _distance(first, second)
    assert _distance(first, second) > 0.1 * _distance(first, [torch.zeros_like(g) for g in first])


def _doubled(forward: Any) -> Any:
    return lambda image, weights: forward(image.double(), weights)


def _distance(a: list[Tensor], b: list[Tensor]) -> float:
    return float(torch.cat(a).sub(torch.cat(b)).norm())


def test_it_says_what_it_lacks() -> None:
    net = supernet(order=2, warmup=0.0).train()
    with pytest.raises(TrainingError, match="give `rate` to Supernet"):
        list(net.between(images(0), images(1), loss, epoch=0, epochs=1))
