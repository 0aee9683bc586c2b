"""The pre-flight: options that never matter, limits that nothing keeps, and seconds from real steps in the worker."""

import json
from dataclasses import replace
from functools import cache
from random import Random

import pytest

from nas import registry
from nas.alike import Alike, find_alike
from nas.cost import Counter
from nas.draws import Drawer, at_random, first
from nas.errors import DataError, LimitError, PlanError
from nas.executors import Job, make
from nas.preflight import preflight, within_limits
from nas.problem import Limits, make_problem
from nas.space import load_space, parse

SIZE = (32, 64)
HAND_MADE = """
task: {semantic: {classes: 3}}
input: [3, 32, 64]
encoder:
  stages:
    stem: 8
    stages:
      - {width: {choice: [8, 16]}, blocks: [{basic: {}}]}
      - {width: 16, blocks: [{basic: {}}]}
      - {width: 16, blocks: [{basic: {}}]}
decoders:
  semantic:
    neck: {fpn: {top: %s, width: 8}}
    head: {choice: {fcn: {width: 8}, merge: {width: 8}}}
"""


@pytest.fixture(scope="module", autouse=True)
def domain():
    registry.load()


def space_with(top):
    return parse(HAND_MADE % top, "hand-made")


def drawer_of(space):
    return Drawer(space, counter())


@cache
def counter():
    """What was counted once stays counted for all tests."""
    return Counter(SIZE)


def alike_in(space):
    drawer, rng = drawer_of(space), Random(0)
    return find_alike(drawer, list(drawer.random(rng, 20)), rng)


TOP = "decoders.semantic.neck.fpn.top"


def test_a_choice_that_changes_nothing_is_dead():
    assert alike_in(space_with("{choice: [3, 4]}")) == [Alike(TOP, ("3", "4"), dead=True)]


def test_two_options_of_three_that_are_one_network():
    found = alike_in(space_with("{choice: [3, 5, 4]}"))
    assert found == [Alike(TOP, ("3", "4"), dead=False)]
    assert str(found[0]) == f"hand-made:13:23: {TOP}: 3, 4 give the same network"


def test_a_choice_in_a_dead_branch_is_dead_and_the_branch_is_not():
    blind = "{choice: [4, 5]}"
    space = parse(
        (HAND_MADE % blind)
        .replace("{fpn: {", "{choice: {none: {}, fpn: {")
        .replace("8}}", "8}}}", 1)
    )
    assert alike_in(space) == []


def test_a_space_without_dead_options():
    assert alike_in(space_with("{choice: [4, 5]}")) == []
    assert alike_in(load_space("tiny")) == []


def test_an_option_that_fits_nowhere_is_named():
    space = parse(
        (HAND_MADE % 4).replace("{basic: {}}", "{choice: {basic: {}, conv: {groups: 3}}}", 1)
    )
    with pytest.raises(PlanError, match=r"blocks\[0\]: conv does not fit"):
        alike_in(space)


def test_draws_are_what_their_decisions_say():
    drawer = drawer_of(load_space("tiny"))
    for drawn in drawer.random(Random(3), 20):
        again = drawer.draw({p: d.taken for p, d in drawn.decisions.items()}, first)
        assert again is not None
        assert (again.architecture, again.decisions) == (drawn.architecture, drawn.decisions)
        assert again.counted.digest == drawn.counted.digest


def test_descending_finds_the_smallest_network_of_a_space():
    space = load_space("tiny")
    drawer = drawer_of(space)
    start = drawer.draw({}, at_random(Random(1)))
    for name in ("macs", "params"):
        least = min(getattr(drawer.counter.count(a), name) for a in space.enumerate())
        assert drawer.descend(start, lambda d, n=name: d.cost(n)).cost(name) == least


def test_limits_that_no_draw_keeps_are_reached_by_descending():
    space = load_space("tiny")
    drawer = drawer_of(space)
    counts = [drawer.counter.count(a) for a in space.enumerate()]
    least = min(c.macs for c in counts)
    large = drawer.draw({}, at_random(Random(1)))
    (found,) = within_limits(drawer, [large], Limits(macs=least))
    assert found.cost("macs") == least
    with pytest.raises(LimitError, match="no architecture of the space is within the limits"):
        within_limits(drawer, [large], Limits(macs=least - 1))


def job_for(tmp_path, **fields):
    recipe = {"epochs": 3, "batch": 2}
    data = "street:images=12,size=32x64"
    job = Job(
        number=0,
        architecture="",
        seed=0,
        data=data,
        size=SIZE,
        recipe=recipe,
        cache=tmp_path / "cache",
    )
    return replace(job, **fields)


@pytest.fixture(scope="module")
def worker():
    executor = make("local")
    yield executor
    executor.close()


@pytest.mark.full
def test_a_preflight_times_trials_in_the_worker(tmp_path, worker):
    space = load_space("tiny").with_input((3, *SIZE))
    problem = make_problem(("miou", "macs"), {"macs": "700k"}, "1h")
    said = []
    found = preflight(space, problem, job_for(tmp_path), worker, draws=60, say=said.append)
    roles = [p.role for p in found.probes]
    assert roles[:2] == ["smallest", "largest"]
    assert set(roles[2:]) == {"random"}
    assert all(
        p.trial_seconds > 0 and p.peak_bytes > 2**20 and p.macs <= 700_000 for p in found.probes
    )
    assert found.probes[0].macs < found.probes[1].macs
    assert len({p.architecture_id for p in found.probes}) == len(found.probes)
    assert (found.options, found.alike, found.broken) == (15, (), ())
    assert 0 < found.within < found.drawn == 60
    assert found.trials == int(3600 / found.trial_seconds)
    assert any(f"about {found.trials} trials" in line for line in found.report().splitlines())
    assert json.loads(json.dumps(found.to_dict()))["trials"] == found.trials
    assert said


def test_an_impossible_limit_is_refused_with_the_smallest_cost(tmp_path):
    space = load_space("tiny").with_input((3, *SIZE))
    problem = make_problem(("miou", "macs"), {"macs": 1000}, "1h")
    least = min(counter().count(a).macs for a in space.enumerate())
    with pytest.raises(LimitError, match=f"smallest seen have macs {least // 1000} k"):
        preflight(space, problem, job_for(tmp_path), make("local"), draws=20)


@pytest.mark.full
@pytest.mark.parametrize(
    ("fields", "kind", "text"),
    [
        ({"data": "folder:/nowhere"}, DataError, "nowhere"),
        ({"recipe": {"batch": 64}}, DataError, "a batch takes 64 images and there are 10"),
    ],
)
def test_what_breaks_every_trial_is_raised(tmp_path, worker, fields, kind, text):
    problem = make_problem(("miou", "macs"), {}, "1h")
    with pytest.raises(kind, match=text):
        preflight(load_space("tiny"), problem, job_for(tmp_path, **fields), worker, draws=5)
