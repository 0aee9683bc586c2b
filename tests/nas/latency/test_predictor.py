"""A predictor finds the law behind a table again, says how far off it is, and holds its intervals."""

from __future__ import annotations

import statistics
from dataclasses import replace

import pytest

from nas.architecture import Architecture
from nas.errors import LatencyError
from nas.latency.predictor import Predictor
from nas.latency.table import Table
from nas.plan import Planner
from tests.nas.latency.synthetic import SIZE, random_texts, table, true_ms

pytest.importorskip("sklearn")


def off(predictor: Predictor, texts: tuple[str, ...], *, additive: bool = False) -> list[float]:
    """How far predictions are from the imaginary machine's own times, as shares."""
    planner, found = Planner(SIZE), []
    for text in texts:
        prediction = predictor.predict(planner.plan(Architecture(text)))
        ms = prediction.additive_ms if additive else prediction.ms
        found.append(abs(ms / true_ms(text)[0] - 1))
    return found


@pytest.mark.parametrize("profiled", [True, False])
def test_the_law_behind_a_table_is_found_again(profiled: bool) -> None:
    predictor = Predictor(table("real_time", 40, profiled=profiled))
    unseen = random_texts("real_time", 20, seed=9)
    for errors in (off(predictor, unseen), off(predictor, unseen, additive=True)):
        assert statistics.median(errors) < (0.03 if profiled else 0.06)


def test_the_error_that_is_printed_is_that_on_networks_it_has_not_seen() -> None:
    noisy = Predictor(table("tiny", 40, profiled=False, noise=0.2))
    exact = Predictor(table("tiny", 40, profiled=False))
    assert exact.errors.median < 0.05 < noisy.errors.median < 0.2
    assert noisy.errors.kendall < exact.errors.kendall <= 1


def test_intervals_hold_about_as_often_as_they_say() -> None:
    noisy = table("tiny", 100, profiled=False, noise=0.2)
    fit, rest = noisy.networks[:50], noisy.networks[50:]
    predictor, planner = Predictor(replace(noisy, networks=fit)), Planner(SIZE)
    found = [(predictor.predict(planner.plan(Architecture(t.architecture))), t.ms) for t in rest]
    assert sum(p.low <= ms <= p.high for p, ms in found) >= 40
    assert all(p.low < p.ms < p.high for p, _ in found)


def test_the_additive_form_is_the_sum_over_nodes() -> None:
    predictor = Predictor(table())
    for text in random_texts("tiny", 10, seed=3):
        plan = Planner(SIZE).plan(Architecture(text))
        nodes = predictor.by_node(plan)
        assert set(nodes) == {step.name for step in plan.steps()[0]}
        additive = sum(nodes.values()) + predictor.constant_ms
        assert additive == pytest.approx(predictor.predict(plan).additive_ms)
        assert predictor(plan) == pytest.approx(predictor.predict(plan).ms)


def test_what_the_table_holds_is_told_from_what_is_only_predicted() -> None:
    known = table("tiny", 30)
    predictor = Predictor(known)
    plan = Planner(SIZE).plan(Architecture(known.networks[0].architecture))
    assert predictor.predict(plan).measured == pytest.approx(1.0, abs=0.02)
    other = Planner(SIZE).plan(Architecture(random_texts("real_time", 1)[0]))
    assert predictor.predict(other).measured < 0.5
    totals = Predictor(table("tiny", 30, profiled=False))
    assert totals.predict(plan).measured == 0.0


def test_a_table_gives_the_same_predictions_wherever_it_lies(tmp_path) -> None:  # type: ignore[no-untyped-def]
    from nas.latency.table import load_table

    first = table()
    first.save(tmp_path / "a.json")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "a.json").rename(tmp_path / "elsewhere" / "b.json")
    moved = load_table(tmp_path / "elsewhere" / "b.json")
    assert moved == first
    plan = Planner(SIZE).plan(Architecture(random_texts("tiny", 1, seed=8)[0]))
    assert Predictor(moved).predict(plan) == Predictor(first).predict(plan)


def test_too_few_networks_are_refused() -> None:
    short: Table = replace(table(), networks=table().networks[:9])
    with pytest.raises(LatencyError, match="a table of 9 networks: at least 10"):
        Predictor(short)
