"""A schedule is plain data, and says of every snapshot when it is."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nas.errors import RecipeError
from nas.relax.schedule import EPOCHS, Schedule

SCHEDULES = st.builds(
    lambda epochs, snapshots, warmup, sweep: Schedule.of(
        {"epochs": epochs, "snapshots": snapshots, "warmup": warmup, "sweep": sweep}
    ),
    st.none() | st.integers(1, 60),
    st.integers(1, 9),
    st.floats(0, 1),
    st.dictionaries(
        st.sampled_from(["macs", "params", "latency"]),
        st.lists(st.floats(1, 1e9), min_size=1, max_size=3, unique=True),
    ),
)


@given(SCHEDULES)
def test_it_comes_back_from_plain_data(schedule: Schedule) -> None:
    assert Schedule.of(schedule.to_dict()) == schedule


@given(SCHEDULES)
def test_snapshots_are_after_the_warm_up_and_the_last_is_at_the_end(schedule: Schedule) -> None:
    found = list(schedule.all_snapshots())
    branches = len(schedule.branches)
    assert {s.branch for s in found} == set(range(branches))
    for branch in range(branches):
        epochs = [s.epoch for s in found if s.branch == branch]
        assert epochs == sorted(set(epochs))
        assert epochs[-1] == schedule.length
        assert schedule.warm < epochs[0] or schedule.warm == schedule.length
        assert len(epochs) <= schedule.snapshots
    assert len({s.name for s in found}) == len(found)


@given(SCHEDULES)
def test_every_combination_of_targets_has_a_branch(schedule: Schedule) -> None:
    targets = [tuple(sorted(b.targets.items())) for b in schedule.branches]
    assert len(set(targets)) == len(targets)
    for name, values in schedule.sweep.items():
        assert {dict(t)[name] for t in targets} == set(values)


@pytest.mark.parametrize(
    "given_fields",
    [{"epochs": 0}, {"epochs": True}, {"snapshots": 1.5}, {"sweep": [1]}, {"warmups": 0.1}],
)
def test_fields_that_do_not_fit(given_fields: dict[str, object]) -> None:
    with pytest.raises(RecipeError, match="supernet"):
        Schedule.of(given_fields)


def test_the_defaults_are_those_of_the_paper() -> None:
    assert (Schedule().length, Schedule().warm) == (EPOCHS, EPOCHS // 2) == (40, 20)


def test_workers_travel_with_the_schedule_and_older_ones_have_one() -> None:
    assert Schedule.of(Schedule(workers=3).to_dict()).workers == 3
    older = Schedule().to_dict()
    del older["workers"]
    assert Schedule.of(older) == Schedule()
    with pytest.raises(RecipeError, match="workers: expected a whole number from 1, got 0"):
        Schedule.of({"workers": 0})


def test_the_command_line_says_how_many_workers() -> None:
    from click.testing import CliRunner
    from rich_click import command, echo

    from nas.cli.differentiable import differentiable_options, make_supernet

    @command()
    @differentiable_options
    def said(**asked: object) -> None:
        echo(str(make_supernet(asked)))

    given = CliRunner().invoke(said, ["--supernet-workers", "2"])
    assert given.output.strip() == "{'workers': 2}"
