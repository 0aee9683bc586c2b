"""The pre-flight: options that never matter, limits that nothing keeps, and seconds from real steps in the worker."""

import json
import math
from dataclasses import replace
from functools import cache
from random import Random

import pytest

from nas import registry
from nas.alike import Alike, find_alike
from nas.cost import Counter
from nas.draws import Drawer, first
from nas.errors import DataError, LimitError, PlanError
from nas.executors import Job, Pool, make
from nas.language.decide import decide
from nas.preflight import preflight
from nas.problem import make_problem
from nas.space import load_space, parse
from nas.units import show_cost

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
    executor = make(Pool())
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
    by_four = replace(found, workers=4)
    assert by_four.trials == 4 * found.trials
    assert any("4 at a time" in line for line in by_four.report().splitlines())
    assert json.loads(json.dumps(found.to_dict()))["trials"] == found.trials
    assert said


RARE = """
base: tiny
encoder:
  stages:
    stem: {choice: [8, 16, 24]}
    stages:
      - width: {choice: [8, 16, 24]}
        blocks: {repeat: {choice: [1, 2, 3]}, of: {choice: {mbconv: {expand: 3}, basic: {}}}}
      - {width: {use: width}, blocks: {repeat: {choice: [1, 2]}, of: {mbconv: {kernel: {choice: [3, 5]}, expand: 3}}}}
      - {width: {choice: [8, 16, 24]}, blocks: [{mbconv: {expand: 3}}]}
"""


@pytest.mark.full
def test_a_limit_that_hardly_anything_keeps_is_estimated(tmp_path, worker):
    file = tmp_path / "rare.yaml"
    file.write_text(RARE)
    space = load_space(file).with_input((3, *SIZE))
    smallest = min(counter().count(a).macs for a in space.enumerate())
    problem = make_problem(("miou", "macs"), {"macs": smallest}, "1h")
    found = preflight(space, problem, job_for(tmp_path), worker, draws=40)
    assert (found.within, found.smallest["macs"]) == (0, smallest)
    assert {p.macs for p in found.probes} == {smallest}
    assert 1 / 4 < found.share / true_share(space, smallest) < 4
    said = f"{found.rarity} random architectures keeps the limits (macs at most {show_cost('macs', smallest)})"
    assert f"warning: {said}: proposals are repaired" in found.report().splitlines()
    assert json.loads(json.dumps(found.to_dict()))["share"] == found.share


def true_share(space, cap):
    """Return with what chance a random architecture has at most so many MACs."""
    chances = {}
    for architecture in space.enumerate():
        if counter().count(architecture).macs <= cap:
            drawn = drawer_of(space).draw(decide(space, architecture), first)
            chances[architecture] = 1 / math.prod(len(d.options) for d in drawn.decisions.values())
    return sum(chances.values())


def test_an_impossible_limit_is_refused_with_the_smallest_cost(tmp_path):
    space = load_space("tiny").with_input((3, *SIZE))
    problem = make_problem(("miou", "macs"), {"macs": 1000}, "1h")
    least = min(counter().count(a).macs for a in space.enumerate())
    with pytest.raises(
        LimitError, match=rf"the space can reach have macs {least // 1000} k \({least}\);"
    ):
        preflight(space, problem, job_for(tmp_path), make(Pool()), draws=20)


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
