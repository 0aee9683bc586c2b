"""Decoding towards a cost, and the range of costs: against all architectures of spaces that can be listed."""

from __future__ import annotations

from random import Random

import pytest

from nas.cost import Counter
from nas.draws import Drawer, Drawn, first
from nas.errors import LimitError, PlanError
from nas.relax.aim import NEAR, Aim, aimed
from nas.relax.decode import decoder
from nas.relax.reach import check_targets, reach
from nas.space import parse
from tests.nas.relax.spaces import HEAD, SIZE, Relaxed, relaxed, text
from tests.nas.relax.test_watch import chances


def drawer_of(case: Relaxed) -> Drawer:
    return Drawer(case.space, Counter(SIZE))


def costs(case: Relaxed, name: str) -> list[float]:
    counter, found = Counter(SIZE), []
    for architecture in case.space.enumerate():
        if "zero" not in architecture.text:
            try:
                found.append(counter.count(architecture).cost(name))
            except PlanError:
                continue
    return found


def redrawn(drawer: Drawer, decisions: dict[str, int]) -> Drawn:
    drawn = drawer.draw(decisions, first)
    assert drawn is not None
    return drawn


@pytest.mark.parametrize("name", ["cells", "pyramid", "context"])
@pytest.mark.parametrize("cost", ["macs", "params"])
def test_the_range_is_that_of_all_architectures(name: str, cost: str) -> None:
    case = relaxed(name)
    every = costs(case, cost)
    assert reach(drawer_of(case), cost, Random(0)) == (min(every), max(every))


@pytest.mark.parametrize("name", ["cells", "trellis"])
def test_without_an_aim_it_is_what_probabilities_point_to(name: str) -> None:
    case = relaxed(name)
    drawer = drawer_of(case)
    for seed in range(3):
        p = chances(case, seed)
        plain = drawer.draw({}, decoder(case.space, p))
        assert plain is not None
        assert aimed(drawer, p, Aim()) == plain.taken


def test_where_no_connection_is_likeliest_in_a_chain_the_next_likeliest_is_taken() -> None:
    """`zero` there leaves no way to the logits: what is likeliest is no network."""
    chain = (
        "[{width: 8, blocks: [{conv: {}}, {choice: [{zero: {}}, {conv: {}}, {separable: {}}]}]}]"
    )
    space = parse(text(HEAD, chain))
    drawer = Drawer(space, Counter(SIZE))
    path = next(path for path, _ in space.options())
    for rest, expected in (((0.1, 0.2), 2), ((0.2, 0.1), 1)):
        p = {path: [0.7, *rest]}
        assert drawer.draw({}, decoder(space, p)) is None
        assert aimed(drawer, p, Aim()) == {path: expected}


@pytest.mark.parametrize("name", ["cells", "pyramid"])
def test_a_target_is_met_wherever_some_architecture_meets_it(name: str) -> None:
    case = relaxed(name)
    drawer, every = drawer_of(case), costs(case, "macs")
    for seed, target in enumerate(Random(1).sample(sorted(set(every)), 6)):
        found = redrawn(drawer, aimed(drawer, chances(case, seed), Aim({"macs": target})))
        assert abs(found.cost("macs") / target - 1) <= NEAR


def test_a_limit_binds_from_one_side_only() -> None:
    case = relaxed("cells")
    drawer, every = drawer_of(case), sorted(costs(case, "macs"))
    cap = every[len(every) // 4]
    for seed in range(6):
        p = chances(case, seed)
        plain = redrawn(drawer, aimed(drawer, p, Aim()))
        kept = redrawn(drawer, aimed(drawer, p, Aim(limits={"macs": cap})))
        assert kept.cost("macs") <= cap
        if plain.cost("macs") <= cap:
            assert kept.taken == plain.taken


def test_a_target_outside_the_range_is_refused_with_it() -> None:
    case = relaxed("cells")
    every = costs(case, "macs")
    with pytest.raises(LimitError, match="out of reach: architectures of the space have"):
        check_targets(drawer_of(case), {"macs": [max(every) * 1.01]}, Random(0))
    assert check_targets(drawer_of(case), {"macs": [max(every)]}, Random(0)) == {
        "macs": (min(every), max(every))
    }
