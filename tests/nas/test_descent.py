"""The smallest architecture of a space, against all there are."""

import math
from dataclasses import replace
from functools import cache
from random import Random

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from nas import registry
from nas.cost import Counter
from nas.descent import Descent, least, within_reach
from nas.draws import Drawer
from nas.errors import LimitError
from nas.problem import Limits
from nas.space import load_space
from tests.nas.drawers import tiny
from tests.nas.spaces_for_tests import trees
from tests.nas.toy_costs import ToyCounted, Woven


@pytest.fixture(scope="module", autouse=True)
def domain():
    registry.load()


@cache
def all_of_tiny():
    return [tiny().counter.count(a) for a in tiny().space.enumerate()]


def drawn_from(drawer, seed, number=3):
    return list(drawer.random(Random(seed), number))


@given(trees(), st.integers(0, 2**32), st.integers(0, 4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_the_smallest_of_any_small_space_is_found(space, seed, coupling):
    assume(2 <= space.size() <= 500)
    drawer = Drawer(space, Woven(seed, coupling))
    counted = [drawer.counter.count(a) for a in space.enumerate()]
    for name in ("macs", "params"):
        found = least(drawer, lambda d, n=name: d.cost(n), drawn_from(drawer, seed), Random(seed))
        assert found.cost(name) == min(c.cost(name) for c in counted)


@given(trees(), st.integers(0, 2**32), st.data())
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.filter_too_much])
def test_limits_are_within_reach_if_some_architecture_keeps_them(space, seed, data):
    assume(2 <= space.size() <= 500)
    drawer = Drawer(space, Woven(seed, 1))
    counted = [drawer.counter.count(a) for a in space.enumerate()]
    least_macs, least_params = (min(c.cost(n) for c in counted) for n in ("macs", "params"))
    one = data.draw(st.sampled_from(counted))
    limits = Limits(macs=one.cost("macs"), params=one.cost("params"))
    found = within_reach(drawer, limits, drawn_from(drawer, seed), Random(seed))
    assert found.excess(limits) == 0.0
    with pytest.raises(
        LimitError, match=rf"have macs .* \({least_macs}\), params .* \({least_params}\), and"
    ):
        within_reach(
            drawer,
            Limits(macs=least_macs - 1, params=least_params),
            drawn_from(drawer, seed),
            Random(seed),
        )


@pytest.mark.parametrize("name", ["macs", "params", "memory"])
def test_the_smallest_of_tiny_is_found_from_anywhere(name):
    true = min(c.cost(name) for c in all_of_tiny())
    for seed in range(3):
        (start,) = drawn_from(tiny(), seed, 1)
        assert Descent(tiny(), lambda d: d.cost(name)).settle(start).cost(name) == true
        assert least(tiny(), lambda d: d.cost(name), [start], Random(seed)).cost(name) == true


@given(st.floats(1e-3, 1e6), st.integers(-3, 3))
@settings(deadline=None)
def test_what_is_over_a_limit_by_a_hair_has_an_excess(cap, steps):
    cost = cap
    for _ in range(abs(steps)):
        cost = math.nextafter(cost, math.copysign(math.inf, steps))
    (some,) = drawn_from(tiny(), 0, 1)
    drawn = replace(some, counted=ToyCounted({"latency": cost}, ""))
    assert (drawn.excess(Limits(latency=cap)) > 0) == (steps > 0)


def test_a_descent_ends_when_it_is_small_enough():
    (start,) = drawn_from(tiny(), 1, 1)
    enough = start.cost("macs") - 1
    found = least(tiny(), lambda d: d.cost("macs"), [start], Random(0), enough)
    changed = {p for p, i in found.taken.items() if start.taken.get(p, i) != i}
    assert found.cost("macs") <= enough
    assert len(changed) == 1


def test_one_limit_is_refused_with_what_can_be_given_instead():
    true = min(c.macs for c in all_of_tiny())
    starts = drawn_from(tiny(), 0)
    with pytest.raises(LimitError) as error:
        within_reach(tiny(), Limits(macs=true - 1), starts, Random(0))
    assert f"({true}); raise the limits" in str(error.value)
    assert "together" not in str(error.value)
    assert within_reach(tiny(), Limits(macs=true), starts, Random(0)).cost("macs") == true


@pytest.mark.full
@pytest.mark.parametrize("name", ["macs", "params"])
def test_nothing_in_real_time_is_smaller_than_what_is_found(name):
    """Against the best of many random architectures, and of descents from some of them."""
    drawer = Drawer(load_space("real_time").with_input((3, 64, 64)), Counter((64, 64)))
    random = drawn_from(drawer, 5, 150)
    descent = Descent(drawer, lambda d: d.cost(name))
    best = min([*random, *(descent.settle(d) for d in random[:8])], key=descent.size)
    found = least(drawer, descent.size, random[:1], Random(0))
    assert found.cost(name) == best.cost(name)
