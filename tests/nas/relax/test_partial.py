"""Partial channels: what goes by is not touched, all are shuffled, and the rest is a mixture like any other."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from nas.errors import PlanError
from nas.relax.expected import expected
from nas.relax.mixing import Mixing
from nas.relax.network import RelaxedNetwork
from nas.relax.partial import ChannelRange, Interleave, PartialPlanner, narrowed
from nas.relax.planner import RelaxedPlanner, opened
from nas.relax.supernet import Supernet
from nas.relax.weights import ArchitectureParameters, one_hot
from tests.nas.relax.spaces import SIZE, Relaxed, relaxed
from tests.nas.relax.supernets import images, loss

PARTS = ("channel_range", "interleave", "mix", "sum", "stack", "resize")


@cache
def partly(name: str, share: int) -> Relaxed:
    case = relaxed(name)
    return Relaxed(case.space, PartialPlanner(SIZE, share).plan(opened(case.space)), case.asked)


def test_channels_are_dealt_out() -> None:
    """Channel k of group g goes to place k * groups + g: one that was worked on in each group."""
    x = torch.arange(12.0).reshape(1, 12, 1, 1).expand(2, 12, 3, 5)
    worked, rest = ChannelRange(12, first=0, last=3)(x), ChannelRange(12, first=3, last=12)(x)
    found = Interleave((3, 9), groups=4)(worked, rest)
    assert found[1, :, 2, 4].tolist() == [0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11]
    shuffled = torch.nn.functional.channel_shuffle(x.contiguous(), 4)
    assert torch.equal(found, shuffled)


def test_a_whole_share_is_the_plan_without() -> None:
    case = relaxed("trellis")
    assert partly("trellis", 1).plan.digest == case.plan.digest
    assert narrowed(case.space, case.plan, 1) is case.plan
    assert narrowed(case.space, case.plan, 2).digest == partly("trellis", 2).plan.digest


@pytest.mark.parametrize("name", ["blocks", "trellis"])
def test_operations_of_an_edge_are_narrower_and_all_else_is_not(name: str) -> None:
    full, part = relaxed(name).plan.steps()[0], partly(name, 2).plan.steps()[0]
    narrow = {step.name: step.leaf for step in part if step.leaf.kind.name not in PARTS}
    changed = {
        step.name: (step.leaf.shape[0], narrow[step.name].shape[0])
        for step in full
        if step.name in narrow and step.leaf.shape != narrow[step.name].shape
    }
    assert changed
    assert all(wide == 2 * thin and "|" in path for path, (wide, thin) in changed.items())
    assert set(narrow) == {s.name for s in full if s.leaf.kind.name not in PARTS}


def test_what_goes_by_is_untouched() -> None:
    """Every edge has its own part that goes by, and deals it out with the part that was worked on."""
    case = partly("trellis", 2)
    network = RelaxedNetwork(case.plan).eval()
    steps, _ = case.plan.steps()
    rests = [s for s in steps if s.leaf.kind.name == "channel_range" and s.leaf.fields["first"]]
    shuffles = [s for s in steps if s.leaf.kind.name == "interleave"]
    assert len(rests) == len(shuffles) > 0
    for rest, shuffle in zip(rests, shuffles, strict=True):
        x = torch.randn(1, *rest.leaf.inputs[0])
        part, by = x.chunk(2, 1)
        passed = network.place(rest)
        whole = network.place(shuffle)
        assert passed is not None
        assert whole is not None
        assert torch.equal(passed(x), by)
        found = whole(part, passed(x))
        assert torch.equal(found[:, 0::2], part)
        assert torch.equal(found[:, 1::2], by)


@pytest.mark.parametrize("name", ["blocks", "trellis"])
@pytest.mark.parametrize("form", ["softmax", "gumbel"])
def test_a_supernet_learns_on_it_and_is_priced_in_full(name: str, form: str) -> None:
    case, full = partly(name, 2), relaxed(name)
    mixing = Mixing(form=form, edges=True)  # type: ignore[arg-type]
    net = Supernet(case.plan, case.asked.values(), mixing, seed=1, priced=full.plan).train()
    for seed in range(2):
        net.teach(*next(images(seed)), loss)
    output = net(next(images(5))[0])
    assert output.logits.shape == (2, 5, *SIZE)
    weights = {**net.architecture.softmax(), **net.architecture.every}
    macs = expected(full.plan, weights, lambda leaf: [leaf.macs])[0]
    assert net.expected_costs()["macs"].item() == pytest.approx(macs.item())
    assert case.plan.macs < full.plan.macs


def test_at_a_one_hot_it_runs_one_operation_an_edge() -> None:
    case = partly("blocks", 2)
    network, image = RelaxedNetwork(case.plan).eval(), torch.randn(2, 3, *SIZE)
    _, decisions = case.draw(3)
    weights = one_hot(case.asked, decisions)
    ran = [s for s in network.chosen(weights) if s.leaf.kind.name not in PARTS]
    full = RelaxedNetwork(relaxed("blocks").plan).eval()
    assert [s.name for s in ran] == [
        s.name for s in full.chosen(weights) if s.leaf.kind.name not in PARTS
    ]
    with torch.no_grad():
        assert network(image, weights).isfinite().all()


def test_every_operation_gets_a_gradient() -> None:
    case = partly("trellis", 4)
    network = RelaxedNetwork(case.plan).train()
    asked = ArchitectureParameters(case.asked.values(), edges=True)
    output = network(torch.randn(2, 3, *SIZE), asked.softmax())
    output.logits.square().mean().backward()
    assert all(p.grad is not None for p in asked.logits)
    assert [n for n, p in network.named_parameters() if p.grad is None] == []


def test_a_share_below_one_is_refused() -> None:
    with pytest.raises(PlanError, match="expected a whole number from 1, got 0"):
        PartialPlanner(SIZE, 0)


def test_channels_that_cannot_be_shared_out_go_through_whole() -> None:
    plan = partly("blocks", 5).plan
    assert plan.digest == RelaxedPlanner(SIZE).plan(opened(relaxed("blocks").space)).digest
