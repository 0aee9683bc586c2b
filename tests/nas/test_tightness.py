"""How rare architectures within the limits are: against shares that are known."""

from collections import Counter as Tally
from functools import cache
from itertools import product
from random import Random
from statistics import fmean

import pytest

from nas import registry
from nas.cost import Counter
from nas.draws import Drawer, first
from nas.language.decide import decide
from nas.problem import Limits
from nas.space import load_space, parse
from nas.tightness import Tightness, tightness
from tests.nas.toy_costs import SumOfNumbers

SIZE = (32, 64)
DIE = "{choice: [1, 2, 3, 4, 5, 6]}"


@pytest.fixture(autouse=True)
def small(monkeypatch):
    """Smaller levels: quicker, and less exact."""
    monkeypatch.setattr("nas.tightness.GROWN", 400)


def dice(number):
    return "{" + ", ".join(f"d{i}: {DIE}" for i in range(number)) + "}"


THROWS = f"throw: {{choice: {{few: {dice(2)}, many: {dice(8)}}}}}\nmore: {dice(3)}"
"""Five dice or eleven, each as often: architectures with few decisions and with many."""


@pytest.fixture(scope="module", autouse=True)
def domain():
    registry.load()


@cache
def ways(number):
    """Return in how many ways so many dice show each sum."""
    if number == 0:
        return Tally({0: 1})
    sums = Tally()
    for (total, n), face in product(ways(number - 1).items(), range(1, 7)):
        sums[total + face] += n
    return sums


def share_of_throws(cap):
    at_most = {n: sum(w for total, w in ways(n).items() if total <= cap) / 6**n for n in (5, 11)}
    return (at_most[5] + at_most[11]) / 2


def found_in(drawer, cap, seed, draws=1000):
    rng = Random(seed)
    return tightness(drawer, Limits(macs=cap), list(drawer.random(rng, draws)), rng, draws=draws)


@pytest.mark.parametrize("cap", [13, 8, 6])
def test_a_share_that_follows_from_dice(cap):
    """One in 20, in 290 and in 2,600: the mean of ten estimates, each of which is off by a half or so."""
    drawer = Drawer(parse(THROWS), SumOfNumbers())
    found = [found_in(drawer, cap, seed) for seed in range(10)]
    assert fmean(f.share for f in found) == pytest.approx(share_of_throws(cap), rel=0.25)
    assert {f.is_estimated for f in found} == {cap < 13}
    assert all(d.cost("macs") <= cap for f in found for d in f.within)


def test_redrawing_keeps_random_architectures_random():
    """From each of all architectures as often as it is drawn, one step leads to each as often as it is drawn."""
    space = parse(
        "a: {choice: {x: {k: {choice: [1, 2, 3]}, l: {choice: [1, 2]}}, y: 7}}\nb: {choice: [4, 5]}"
    )
    drawer = Drawer(space, SumOfNumbers())
    rng = Random(0)
    number = 12_000
    after = Tally(drawer.redrawn(d, 0.4, rng).architecture.id for d in drawer.random(rng, number))
    chances = chances_of(drawer)
    expected = {drawn.architecture.id: chance * number for drawn, chance in chances}
    assert after.keys() == expected.keys()
    chi_square = sum((after[i] - e) ** 2 / e for i, e in expected.items())
    assert chi_square < 31.3  # 1 in 1,000 with 13 - 1 degrees of freedom would be 32.9


def chances_of(drawer):
    """Return each architecture with its chance to be drawn."""
    found = []
    for architecture in drawer.space.enumerate():
        drawn = drawer.draw(decide(drawer.space, architecture), first)
        chance = 1.0
        for decision in drawn.decisions.values():
            chance /= len(decision.options)
        found.append((drawn, chance))
    return found


def test_the_share_of_tiny_is_known(monkeypatch):
    monkeypatch.setattr("nas.tightness.SCARCE", 0.5)
    drawer = Drawer(load_space("tiny"), Counter(SIZE))
    chances = chances_of(drawer)
    assert sum(chance for _, chance in chances) == pytest.approx(1)
    cap = min(drawn.cost("macs") for drawn, _ in chances)
    true = sum(chance for drawn, chance in chances if drawn.cost("macs") <= cap)
    assert true == pytest.approx(1 / 96)
    estimates = [found_in(drawer, cap, seed, draws=400) for seed in range(6)]
    assert fmean(e.share for e in estimates) == pytest.approx(true, rel=0.3)
    assert all(d.cost("macs") == cap for e in estimates for d in e.within)


def test_limits_that_many_keep_are_counted():
    drawer = Drawer(parse(THROWS), SumOfNumbers())
    drawn = list(drawer.random(Random(0), 200))
    found = tightness(drawer, Limits(macs=25), drawn, Random(0), draws=200)
    kept = [d for d in drawn if d.cost("macs") <= 25]
    assert found == Tightness(len(kept) / 200, tuple(kept), is_estimated=False)


def test_limits_that_nothing_keeps_have_a_bound():
    found = found_in(Drawer(parse(THROWS), SumOfNumbers()), 4, 0)
    assert found.within == ()
    assert 0 < found.share < 2 * share_of_throws(5)
    assert str(found).startswith("fewer than 1 in ")
    assert tightness(
        Drawer(parse(THROWS), SumOfNumbers()), Limits(macs=1), [], Random(0), draws=50
    ) == Tightness(1 / 50, ())


def test_one_digit_is_what_is_known():
    drawn = (found_in(Drawer(parse(THROWS), SumOfNumbers()), 25, 0).within[0],)
    texts = {0.0123: "80", 1 / 8734: "9,000", 1.05e-4: "10,000", 3.1e-7: "3,000,000"}
    assert {s: str(Tightness(s, drawn)) for s in texts} == {
        s: f"about 1 in {t}" for s, t in texts.items()
    }
