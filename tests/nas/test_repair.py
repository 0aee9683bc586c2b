"""Repairs: always within the limits, no change that could be left out, and different ones for different seeds."""

from random import Random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nas import registry
from nas.descent import within_reach
from nas.draws import Drawer, first
from nas.language.decide import decide
from nas.language.tree import Pick, Walk
from nas.problem import Limits
from nas.repair import Repair
from nas.space import Space, parse
from tests.nas.drawers import tiny
from tests.nas.spaces_for_tests import trees
from tests.nas.toy_costs import SumOfNumbers, Woven


@pytest.fixture(scope="module", autouse=True)
def domain():
    registry.load()


def repair_for(drawer, limits, seed=0):
    rng = Random(seed)
    return Repair(drawer, limits, within_reach(drawer, limits, list(drawer.random(rng, 5)), rng))


def changed(proposal, repaired):
    """The paths that both ask and that were decided otherwise."""
    return {p for p, i in repaired.taken.items() if proposal.taken.get(p, i) != i}


def undone(drawer, proposal, repaired, path):
    """Return the repaired architecture with the proposal's decision at `path`, and below it."""
    return drawer.draw({**proposal.taken, **repaired.taken, path: proposal.taken[path]}, first)


@given(trees(), st.integers(0, 2**32), st.data())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_whatever_is_proposed_comes_within_limits_that_some_architecture_keeps(space, seed, data):
    assume(2 <= space.size() <= 500)
    drawer = Drawer(space, Woven(seed, 1))
    one = drawer.counter.count(data.draw(st.sampled_from(list(space.enumerate()))))
    limits = Limits(macs=one.cost("macs"), params=one.cost("params"))
    repair = repair_for(drawer, limits, seed)
    for proposal in drawer.random(Random(seed), 5):
        repaired = repair.repaired(proposal, Random(seed))
        assert repaired.excess(limits) == 0.0
        assert decide(space, repaired.architecture) == repaired.taken
        if proposal.excess(limits) == 0.0:
            assert repaired == proposal


def test_in_a_small_space_what_keeps_the_limits_is_found_however_it_lies():
    """No descent comes to some of these: several decisions have to change at once, for the worse before the better."""
    walk = Walk(steps=2, start=4, moves={4: (4, 8), 8: (4, 8, 16), 16: (8,)})
    space = Space({"top": Pick(1, ("x", "y"), walk)})
    drawer = Drawer(space, Woven(1, 1))
    for architecture in space.enumerate():
        one = drawer.counter.count(architecture)
        limits = Limits(macs=one.cost("macs"), params=one.cost("params"))
        for seed in range(4):
            rng = Random(seed)
            found = within_reach(drawer, limits, list(drawer.random(rng, 5)), rng)
            assert found.excess(limits) == 0.0


@pytest.mark.parametrize("rank", [0, 1, 5, 20])
def test_no_change_could_be_left_out(rank):
    """In tiny, of 144 networks, with a limit that so many others keep beside the smallest."""
    drawer = tiny()
    everything = [drawer.draw(decide(drawer.space, a), first) for a in drawer.space.enumerate()]
    limits = Limits(macs=int(sorted(d.cost("macs") for d in everything)[rank]))
    repair = repair_for(drawer, limits)
    for seed, proposal in enumerate(drawer.random(Random(rank), 12)):
        repaired = repair.repaired(proposal, Random(seed))
        assert repaired.excess(limits) == 0.0
        for path in changed(proposal, repaired):
            assert undone(drawer, proposal, repaired, path).excess(limits) > 0.0


def test_the_same_seed_repairs_in_the_same_way_and_others_in_others():
    drawer = Drawer(parse("all: [" + "{choice: [1, 2, 3]}, " * 12 + "1]"), SumOfNumbers())
    limits = Limits(macs=20)
    repair = repair_for(drawer, limits)
    largest = drawer.draw({}, lambda _, options: len(options) - 1)
    found = [repair.repaired(largest, Random(seed)) for seed in range(20)]
    assert found == [repair.repaired(largest, Random(seed)) for seed in range(20)]
    assert len({d.architecture.id for d in found}) > 15
    assert all(19 <= d.cost("macs") <= 20 for d in found)


def test_where_no_single_change_helps_a_known_architecture_shows_the_way():
    """Two decisions that cost most where they differ: from one to the other it is uphill."""
    drawer = Drawer(
        parse("a: {choice: [0, 1]}\nb: {choice: [0, 1]}\nc: {choice: [1, 2, 3]}"), Tied()
    )
    limits = Limits(macs=12)
    start = drawer.draw({"a": 1, "b": 1, "c": 2}, first)
    assert all(
        drawer.flipped(start, p, 0, first).cost("macs") > start.cost("macs") for p in ("a", "b")
    )
    repair = repair_for(drawer, limits)
    found = [repair.repaired(start, Random(seed)).taken for seed in range(10)]
    assert {(d["a"], d["b"]) for d in found} == {(0, 0)}
    assert {d["c"] for d in found} == {0, 1}


class Tied(SumOfNumbers):
    """Costs 100 more where a and b differ, 10 more where both are 1, and what c says."""

    def count(self, architecture):
        tree = architecture.tree
        known = super().count(architecture)
        extra = 100 * (tree["a"] != tree["b"]) + 10 * (tree["a"] + tree["b"]) + 10 * (tree["c"] > 2)
        return type(known)({"macs": known.cost("macs") + extra}, known.digest)
