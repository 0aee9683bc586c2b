"""Architecture parameters: temperatures, entropies, learned sources of picks, and skips that are left out at times."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from nas.relax.decode import decode
from nas.relax.skips import skips
from nas.relax.weights import ArchitectureParameters
from tests.nas.relax.spaces import relaxed
from tests.nas.relax.supernets import images, loss, supernet


def parameters(name: str = "trellis", *, edges: bool = False) -> ArchitectureParameters:
    found = ArchitectureParameters(relaxed(name).asked.values(), edges=edges).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for logits in found.logits:
            logits.normal_(generator=generator)
    return found


@torch.no_grad()
def test_a_temperature_makes_probabilities_sharper_and_keeps_their_order() -> None:
    asked = parameters()
    for cold, warm in zip(
        asked.probabilities(0.1).values(), asked.probabilities(10.0).values(), strict=True
    ):
        assert cold.max() > warm.max()
        assert torch.equal(cold.argsort(), warm.argsort())
        assert float(cold.detach().sum()) == pytest.approx(1)


@torch.no_grad()
def test_entropies_are_minus_p_log_p() -> None:
    asked = parameters()
    for path, p in asked.probabilities(0.5).items():
        by_hand = -sum(x * math.log(x) for x in p.tolist())
        assert float(asked.entropies(0.5)[path].detach()) == pytest.approx(by_hand)


def test_the_gradient_of_an_entropy_is_finite_where_an_option_has_died_out() -> None:
    asked = parameters()
    with torch.no_grad():
        asked.logits[0][0] = -1e4
    total = torch.stack(list(asked.entropies().values())).sum()
    gradients = torch.autograd.grad(total, list(asked.logits))
    assert all(g.isfinite().all() for g in gradients)


@pytest.mark.parametrize("form", ["softmax", "gumbel"])
@pytest.mark.parametrize("weight", [-1.0, 1.0])
def test_the_entropy_falls_with_a_positive_weight_and_rises_with_a_negative(
    form: str, weight: float
) -> None:
    def total() -> float:
        return sum(float(h.detach()) for h in net.architecture.entropies().values())

    net = supernet(form=form, entropy=[weight, weight], lr=0.05, weight_decay=0.0)
    with torch.no_grad():
        for logits in net.architecture.logits:
            logits.normal_(generator=torch.Generator().manual_seed(2))
    before = total()
    for _ in range(20):
        net.teach(*next(images(0)), lambda output, target: 0 * loss(output, target))
    assert (total() < before) == (weight > 0)


@torch.no_grad()
def test_learned_sources_sum_to_one_and_what_they_prefer_is_kept() -> None:
    case, asked = relaxed("trellis"), parameters(edges=True)
    picks = [q for q in case.asked.values() if q.kind == "pick"]
    found = asked.probabilities()
    assert picks
    for q in picks:
        assert float(found[q.path].sum()) == pytest.approx(1)
    with torch.no_grad():
        for q, logits in zip(asked.questions, asked.logits, strict=True):
            if q.kind == "pick":
                logits.copy_(torch.tensor([8.0, *[0.0] * (len(logits) - 2), 8.0]))
            elif q.kind == "choice":  # not zero, which is never kept
                logits.copy_(torch.tensor([1.0, 0.0, 0.0, 0.0]))
    chances = {path: p.tolist() for path, p in asked.probabilities().items()}
    cells = decode(case.space, chances).tree["encoder"]["trellis"]["cell"]
    assert [entry["source"] for entry in cells[0]] == ["prev2", "prev"]  # there are no others
    assert [entry["source"] for entry in cells[1]] == [picks[0].labels[0], picks[0].labels[-1]]


def test_without_them_all_sources_count_fully() -> None:
    asked = parameters()
    picks = {q.path: len(q.labels) for q in relaxed("trellis").asked.values() if q.kind == "pick"}
    assert {path: list(asked.softmax()[path]) for path in picks} == {
        path: [1.0] * number for path, number in picks.items()
    }


def test_expected_costs_are_of_all_sources() -> None:
    plain, learned = supernet("trellis"), supernet("trellis", edges=True)
    for net in (plain, learned):
        with torch.no_grad():
            for logits in net.architecture.logits:
                logits.zero_()
    assert plain.expected_costs() == learned.expected_costs()


@pytest.mark.parametrize("form", ["softmax", "gumbel"])
def test_learned_sources_learn(form: str) -> None:
    net = supernet("trellis", form=form, edges=True).train()
    pairs = zip(net.architecture.questions, net.architecture.logits, strict=True)
    before = [(p, p.detach().clone()) for q, p in pairs if q.kind == "pick"]
    for seed in range(3):
        net.teach(*next(images(seed)), loss)
    assert before
    assert all(not torch.equal(p, value) for p, value in before)


def test_skips_are_told_by_their_kind() -> None:
    found = skips(relaxed("trellis").asked.values())
    assert found == dict.fromkeys(found, (2,))  # separable, pool, skip, zero
    assert set(found) == {q.path for q in relaxed("trellis").asked.values() if q.kind == "choice"}
    assert skips(relaxed("cells").asked.values()) == {}


@torch.no_grad()
def test_skips_are_left_out_as_often_as_asked_and_weigh_the_same_on_average() -> None:
    net = supernet("trellis", skip_dropout=0.3).train()
    plain = net.architecture.softmax()
    (path, *_), drawn = net._skips, []
    for _ in range(2000):
        weights = net.draw()
        drawn.append(float(weights[path][2]))
        assert [float(w) for w in weights[path][:2]] == [float(w) for w in plain[path][:2]]
    assert drawn.count(0.0) / len(drawn) == pytest.approx(0.3, abs=0.04)
    assert sum(drawn) / len(drawn) == pytest.approx(float(plain[path][2]), rel=0.06)


@torch.no_grad()
def test_skips_are_all_there_in_evaluation_and_in_the_last_epoch() -> None:
    net = supernet("trellis", skip_dropout=0.9)
    wanted = _numbers(net.architecture.softmax())
    assert _numbers(net.eval().draw()) == wanted
    net.train().begin(3, 4)
    assert _numbers(net.draw()) == wanted


def _numbers(weights: dict[str, list[Tensor]]) -> dict[str, list[float]]:
    return {path: [float(w) for w in given] for path, given in weights.items()}
