"""However a data-parallel training ends, all of its processes end, and it is said why."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import pytest
import torch

from nas.errors import NasError, TrainingError
from nas.parallel.join import check_device, check_parts
from nas.parallel.launch import launch
from nas.parallel.ranks import ALONE, Ranks
from nas.train import never
from tests.nas.parallel.parts import told

CPU = torch.device("cpu")
PATIENCE_S = 60


def children(of: int | None = None) -> list[int]:
    """Return the ids of the processes that a process has started, and that are not gone."""
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            state, parent = status.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == (of or os.getpid()) and state != "Z":
                found.append(int(status.parent.name))
    return found


def alive(pid: int) -> bool:
    with suppress(OSError):
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    return False


@pytest.mark.full
def test_a_fault_of_one_rank_ends_all_and_is_what_is_raised() -> None:
    before = children()
    with pytest.raises(TrainingError, match="rank 1: ValueError: a fault of its own") as error:
        list(told("failing"))
    assert "raise ValueError" in "".join(error.value.__notes__)
    assert children() == before


@pytest.mark.full
@pytest.mark.parametrize("victim", [0, 1])
def test_a_killed_rank_ends_all_and_is_named(victim: int) -> None:
    before = children()
    with closing(told("endless")) as steps:
        next(steps)
        ranks = sorted(set(children()) - set(before))
        assert len(ranks) == 2
        os.kill(ranks[victim], signal.SIGKILL)
        with pytest.raises(TrainingError, match=rf"rank {victim} of 2: .*killed \(SIGKILL\)"):
            list(steps)
    assert children() == before


@pytest.mark.full
def test_stopping_is_agreed_and_closing_ends_all() -> None:
    before = children()
    asked = iter([False])
    assert list(told("endless", stop=lambda: next(asked, True)))[-1] == "stopped"
    with closing(told("endless")) as steps:
        next(steps)
        assert len(children()) == len(before) + 2
    assert children() == before


@pytest.mark.full
def test_ranks_die_with_who_started_them() -> None:
    code = (
        "from tests.nas.parallel.parts import told; [print(s, flush=True) for s in told('endless')]"
    )
    root = Path(__file__).parents[3]
    with subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, cwd=root
    ) as starter:
        assert starter.stdout is not None
        assert starter.stdout.readline() == "step\n"
        ranks = children(starter.pid)
        assert len(ranks) == 2
        starter.kill()
    until = time.monotonic() + PATIENCE_S
    while any(alive(pid) for pid in ranks) and time.monotonic() < until:
        time.sleep(0.02)
    assert not any(alive(pid) for pid in ranks)


@pytest.mark.full
def test_what_rank_0_refuses_ends_the_others() -> None:
    assert list(told("refused")) == [{"answer": 42}, "rank 0 cannot go on: "]


def test_what_cannot_be_sent_is_refused_before_anything_starts() -> None:
    with pytest.raises(NasError, match="cannot be sent to other processes"):
        next(launch("tests.nas.parallel.parts:endless", lambda: 0, number=2, stop=never))


@pytest.mark.parametrize(
    ("batch", "number", "nearest"), [(10, 4, "8 or 12"), (3, 4, "4"), (9, 2, "8 or 10")]
)
def test_a_batch_that_cannot_be_split_names_the_nearest(
    batch: int, number: int, nearest: str
) -> None:
    for workers, ranks in ((number, ALONE), (1, Ranks(0, number))):
        with pytest.raises(TrainingError, match=f"over {number} workers; .*that can: {nearest}$"):
            check_parts(batch, workers, ranks, CPU)
    check_parts(int(nearest.split(maxsplit=1)[0]), number, ALONE, CPU)


@pytest.mark.parametrize(
    ("device", "needed", "there", "told"),
    [
        ("cuda", 4, 2, "4 are needed, this machine has 2"),
        ("cuda:1", 2, 4, "cuda:1 is one; choose among them with CUDA_VISIBLE_DEVICES"),
        ("mps", 2, 1, "not on mps"),
    ],
)
def test_devices_that_are_not_there(device: str, needed: int, there: int, told: str) -> None:
    with pytest.raises(TrainingError, match=told):
        check_device(torch.device(device), needed, there)


def test_workers_beside_those_of_torchrun_are_refused() -> None:
    with pytest.raises(TrainingError, match=r"one of 4 .* leave --workers out"):
        check_parts(8, 2, Ranks(0, 4), CPU)


def alone(_: Any = None) -> dict[str, Any]:
    return {"a": torch.ones(2), "b": (torch.zeros(1),)}


def test_alone_nothing_is_done() -> None:
    parts = alone()
    assert ALONE.whole(parts) is parts
    assert ALONE.first(lambda: 3) == 3
    assert ALONE.any(True)
    assert not ALONE.any(False)
    assert ALONE.leads
