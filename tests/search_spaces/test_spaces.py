"""The published spaces: what is in them plans, and they are as large and as varied as they say."""

from __future__ import annotations

from contextlib import suppress
from itertools import chain
from random import Random

import pytest

from nas.choosers import mutate, random_chooser, record, replay
from nas.cost import Counter
from nas.errors import PlanError
from nas.language.cover import cover
from nas.resolve import resolve
from nas.space import load_space, spaces

SIZES = {
    "tiny": (64, 128),
    "real_time": (64, 128),
    "auto_deeplab": (48, 64),
    "eseg": (64, 128),
    "mobile": (64, 128),
    "nas_fpn": (64, 128),
    "full": (64, 128),
}
LARGE = "full"
"""Takes some ninety networks to cover."""


def test_every_published_space_is_tested_here() -> None:
    assert set(spaces()) == set(SIZES)


@pytest.mark.parametrize(
    "name",
    [*(n for n in SIZES if n != LARGE), pytest.param(LARGE, marks=pytest.mark.full)],
)
def test_every_option_plans(name: str) -> None:
    """A row whose operations are all `zero` is no network: then each of its options with another one changed."""
    space, counter = load_space(name), Counter(SIZES[name])
    for row in cover(space):
        left = set(row.items())
        changed = (mutate(Random(0), row, path) for path in row)
        for choose in chain([replay(row)], changed):
            decided: dict[str, int] = {}
            architecture = resolve(space, record(choose, decided))
            with suppress(PlanError):
                assert counter.count(architecture).macs > 0
                left -= set(decided.items())
            if not left:
                break
        assert not left


def test_tiny_can_be_listed_and_its_costs_spread_by_five() -> None:
    space, counter = load_space("tiny"), Counter(SIZES["tiny"])
    counted = [counter.count(a) for a in space.enumerate()]
    assert len(counted) == space.size() == 144
    assert len({c.digest for c in counted}) == 144
    macs = [c.macs for c in counted]
    assert max(macs) >= 5 * min(macs)


def test_real_time_is_large_and_a_good_part_is_within_five_gmacs() -> None:
    space, counter = load_space("real_time"), Counter((512, 1024))
    assert space.size() > 10**12
    assert space.options()
    drawn = [resolve(space, random_chooser(Random(seed))) for seed in range(12)]
    within = sum(counter.count(a).macs <= 5e9 for a in drawn)
    assert 2 <= within <= 10
