"""Expected latency: at a one-hot the predictor's additive form, with a gradient; costs at other sizes; given prices."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from nas.cost import Counter
from nas.errors import PlanError
from nas.latency.predictor import Predictor
from nas.parts import Plan
from nas.plan import Planner
from nas.relax.mixing import Mixing
from nas.relax.planner import RelaxedPlanner, opened
from nas.relax.prices import Price, expected_costs, latency
from nas.relax.supernet import Supernet
from nas.relax.weights import ArchitectureParameters, one_hot
from tests.nas.latency.synthetic import table
from tests.nas.relax.spaces import SIZE, relaxed
from tests.nas.relax.supernets import logits

pytest.importorskip("sklearn")
OTHER = (96, 160)


@cache
def predictor(*, profiled: bool = True) -> Predictor:
    found = Predictor(table(profiled=profiled))
    found.constant_ms = 0.25  # the imaginary machine has none
    return found


@pytest.mark.parametrize("profiled", [True, False])
@pytest.mark.parametrize("name", ["cells", "pyramid", "trellis"])
def test_at_a_one_hot_it_is_the_additive_form(name: str, profiled: bool) -> None:
    case, planner, compared = relaxed(name), Planner(SIZE), 0
    for seed in range(20):
        architecture, decisions = case.draw(seed)
        try:
            plan = planner.plan(architecture)
        except PlanError:  # nothing but zeros on the way to the logits
            continue
        filled = any(step.leaf.fields.get("missing") for step in plan.steps()[0])
        weights, by = one_hot(case.asked, decisions), predictor(profiled=profiled)
        found = expected_costs(case.plan, weights, {"latency": latency(by)})["latency"]
        within = 1e-5 if filled else 1e-12  # zeros stand in for inputs, and take time of their own
        assert found.item() == pytest.approx(by.predict(plan).additive_ms, rel=within)
        compared += 1
    assert compared >= 8


def test_its_gradient_is_finite_differences() -> None:
    case, step = relaxed("cells"), 1e-5
    asked = ArchitectureParameters(case.asked.values()).double()
    with torch.no_grad():
        for values in asked.logits:
            values.normal_(generator=torch.Generator().manual_seed(3))

    def ms() -> torch.Tensor:
        prices = {"latency": latency(predictor())}
        return expected_costs(case.plan, asked.softmax(), prices)["latency"]

    gradients = torch.autograd.grad(ms(), list(asked.logits))
    for values, gradient in zip(asked.logits, gradients, strict=True):
        for i in range(len(values)):
            with torch.no_grad():
                values[i] += step
                up = ms().item()
                values[i] -= 2 * step
                down = ms().item()
                values[i] += step
            assert (up - down) / (2 * step) == pytest.approx(gradient[i].item(), rel=1e-5, abs=1e-9)


def test_costs_are_those_of_the_size_where_it_runs() -> None:
    case = relaxed("cells")
    priced: Plan = RelaxedPlanner(OTHER).plan(opened(case.space))
    net = Supernet(
        case.plan, case.asked.values(), Mixing(), prices={"ms": latency(predictor())}, priced=priced
    )
    architecture, decisions = case.draw(5)
    with torch.no_grad():
        for q, values in zip(net.architecture.questions, net.architecture.logits, strict=True):
            values.fill_(-1e4)
            values[decisions.get(q.path, 0)] = 0.0
    counted = Counter(OTHER).count(architecture)
    ms = predictor().predict(Planner(OTHER).plan(architecture)).additive_ms
    found = {name: cost.item() for name, cost in net.expected_costs().items()}
    assert found == {
        "macs": counted.macs,
        "params": counted.params,
        "ms": pytest.approx(ms, rel=1e-9),
    }


def test_a_given_price_can_be_a_target() -> None:
    case = relaxed("cells")
    nets = [
        Supernet(
            case.plan,
            case.asked.values(),
            Mixing(targets={cost: target}, lr=0.01),
            prices={"double": Price(lambda leaf: 2 * leaf.macs, constant=1e6)},
        )
        for cost, target in (("double", 5e6), ("macs", 2e6))
    ]
    for net in nets:
        net.network.forward = lambda image, _weights: image.sum() * 0  # type: ignore[method-assign]
        for _ in range(3):
            net.teach(torch.zeros(1, 3, *SIZE), torch.zeros(1), lambda value, _target: value)
    double, macs = nets
    assert double.expected_costs()["double"].item() == pytest.approx(
        2 * double.expected_costs()["macs"].item() + 1e6
    )
    assert double.multipliers["double"] * macs.multipliers["macs"] > 0
    moved = [[v.sign() for v in logits(net)] for net in nets]
    assert all(torch.equal(a, b) for a, b in zip(*moved, strict=True))


def test_nothing_is_asked_for_no_price() -> None:
    case = relaxed("cells")
    assert expected_costs(case.plan, {}, {}) == {}
