import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import LimitError
from nas.problem import (
    Budget,
    Limits,
    Objective,
    Problem,
    make_problem,
    parse_budget,
    show_seconds,
)


@pytest.mark.parametrize(
    ("texts", "budget"),
    [
        ("30m", Budget(None, 1800)),
        ("8h", Budget(None, 28800)),
        ("1h30m", Budget(None, 5400)),
        ("50trials", Budget(50)),
        ("1trial", Budget(1)),
        (["30m", "50trials"], Budget(50, 1800)),
        ("40gpu-hours", Budget(gpu_seconds=144000)),
        ("2h 0.5gpuh", Budget(None, 7200, 1800)),
        ("30m,50trials", Budget(50, 1800)),
        ("90s", Budget(None, 90)),
        ([], Budget()),
    ],
)
def test_parse_budget(texts, budget):
    assert parse_budget(texts) == budget


@pytest.mark.parametrize(
    "text",
    [
        "8",
        "30 minutes",
        "0trials",
        "0s",
        "5trials 6trials",
        "1h 2h",
        "1gpuh 2gpuh",
        "0gpu-hours",
        "-1h",
    ],
)
def test_parse_budget_refuses(text):
    with pytest.raises(LimitError):
        parse_budget(text)


@given(st.integers(1, 10**6))
def test_seconds_are_read_back(seconds):
    assert parse_budget(show_seconds(seconds)) == Budget(None, seconds)


def test_unknown_objective_names_the_closest():
    with pytest.raises(LimitError, match="did you mean 'macs'"):
        Objective.of("mac")


def test_costs_alone_are_no_search():
    with pytest.raises(LimitError, match="add miou"):
        make_problem(["macs"], {})


def test_an_objective_twice():
    with pytest.raises(LimitError, match="twice"):
        make_problem(["miou", "miou"], {})


def test_one_objective_is_legal():
    assert make_problem(["miou"], {}, "5trials").directions == ("maximize",)


def test_limits():
    limits = make_problem(["miou"], {"macs": "2G", "params": None}).limits
    assert limits == Limits(macs=2 * 10**9)
    assert limits.excess({"macs": 10**9, "params": 5}) == {"macs": -0.5}
    assert limits.broken({"macs": 2 * 10**9, "params": 5}) == []
    assert limits.broken({"macs": 3 * 10**9, "params": 5}) == ["macs 3 G > 2 G"]


def test_a_missing_measure_is_named():
    problem = Problem((Objective.of("miou"),))
    with pytest.raises(LimitError, match="no 'miou'"):
        problem.values({"loss": 1.0})


def test_raising_a_budget_keeps_the_other_part():
    assert Budget(50, 1800).raised(Budget(None, 3600)) == Budget(50, 3600)
