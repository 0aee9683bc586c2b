"""Searches on a small disk that becomes full, really: one error, a study that can be read, and nothing lost."""

import errno
import os
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import nas.search
from nas.atomic import append_line, write_atomic
from nas.errors import StorageError
from nas.executors import describe
from nas.full_disk import TOLD, full_disk_told, is_full
from nas.record import read_seconds, read_trials
from nas.run import Run
from tests.nas.search import go
from tests.nas.storage.recording import OBJECTIVES, history, opened, trained
from tests.nas.storage.searching import TRIALS, refused, start, wait_for
from tests.nas.storage.searching import history as trials_of
from tests.nas.test_front import make_run

FILLING = Path(__file__).parent / "filling.py"


@contextmanager
def mounted(folder, size):
    folder.mkdir()
    done = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        pytest.skip(f"no small disk can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small(tmp_path):
    with mounted(tmp_path / "disk", "4m") as folder:
        yield folder


@contextmanager
def filled(disk):
    """Leave no byte free, again and again: what is let go of is taken at once."""
    ballast = disk / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for size in (65536, 512):
            with suppress(OSError):
                while True:
                    file.write(b"x" * size)
    try:
        yield
    finally:
        ballast.unlink()


def test_a_file_is_written_whole_or_not_at_all(small):
    write_atomic(small / "a", b"old")
    append_line(small / "log", "first")
    with filled(small):
        for write in (
            lambda: write_atomic(small / "a", b"x" * 100_000),
            lambda: append_line(small / "log", "y" * 100_000),
        ):
            with pytest.raises(OSError, match="No space left on device") as raised:
                write()
            assert Path(raised.value.filename).parent == small
    append_line(small / "log", "second")
    assert (small / "a").read_bytes() == b"old"
    assert (small / "log").read_text() == "first\nsecond\n"
    assert sorted(p.name for p in small.iterdir()) == ["a", "log"]


def test_a_line_does_not_join_one_that_a_kill_has_torn(tmp_path):
    (tmp_path / "log").write_text("whole\nto")
    append_line(tmp_path / "log", "next")
    assert (tmp_path / "log").read_text() == "whole\nto\nnext\n"


def test_a_study_on_a_full_disk_can_be_read_and_goes_on(small):
    url = f"sqlite:///{small}/study.db"
    record = opened(url)
    for _ in range(3):
        trained(record)
    with filled(small):
        with pytest.raises(OSError, match="No space") as raised:
            _train_on(record)
        assert Path(raised.value.filename) == small / "study.db"
        before = history(read_trials(url, list(OBJECTIVES), "run"))
        record.close()
    with filled(small):
        assert history(read_trials(url, list(OBJECTIVES), "run")) == before
        assert read_seconds(url, "run") == 0.0
        with pytest.raises(OSError, match="No space"):
            opened(url)
    record = opened(url)
    assert history(record.trials)[:3] == before[:3]
    trained(record)
    record.close()
    kept = read_trials(url, list(OBJECTIVES), "run")
    assert [t.number for t in kept] == list(range(len(kept)))


def _train_on(record):
    while True:
        trained(record, parameters=40)


def test_a_study_can_be_read_where_nothing_may_be_written(small):
    url = f"sqlite:///{small}/study.db"
    record = opened(url)
    trained(record)
    record.close()
    subprocess.run(["mount", "-o", "remount,ro", str(small)], check=True)
    assert len(read_trials(url, list(OBJECTIVES), "run")) == 1


@pytest.mark.full
def test_a_disk_that_becomes_full_ends_the_search_with_one_error(small, tmp_path):
    whole, folder = tmp_path / "whole", small / "run"
    go.main(str(whole), "planted_slow", f"{TRIALS}trials")
    search = start(folder)
    wait_for(folder, "began", 3)
    with filled(small):
        said = refused(search)
        assert f"StorageError: {TOLD}: {folder}" in said
        assert f"nas search --resume {folder}" in said
        before = [t for t in Run.open(folder).trials() if t.outcome == "complete"]
        assert before
    go.main(str(folder), "planted_slow", f"{TRIALS}trials")
    assert trials_of(folder) == trials_of(whole)
    assert [t for t in Run.open(folder).trials() if t.number < len(before)] == before


@pytest.mark.full
def test_a_worker_that_finds_the_disk_full_ends_the_search(small, tmp_path, monkeypatch):
    monkeypatch.setenv("FILLING_DIR", str(small))
    folder = tmp_path / "run"
    asked = {
        "data": "street:images=12,size=32x64",
        "evaluator": "filling",
        "plugins": [FILLING],
        "preflight": False,
        "progress": False,
        "device": "cpu",
        "run": folder,
    }
    with filled(small), pytest.raises(StorageError, match=TOLD) as raised:
        nas.search.search("tiny", budget="4trials", **asked)
    assert str(small / "checkpoint") in str(raised.value)
    assert [t.outcome for t in Run.open(folder).trials()] == ["waiting"]
    run = nas.search.search(resume=folder, progress=False)
    assert run.ended == "budget"
    assert [t.outcome for t in run.trials() if t.counts] == ["complete"] * 4


@pytest.mark.full
def test_a_command_says_that_the_disk_is_full(small):
    run = make_run(small / "run", [(0.5, 10)])
    with filled(small):
        done = subprocess.run(
            [sys.executable, "-m", "nas", "front", str(run.folder)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )
    said = f"error: the disk is full: {run.folder}/front.json\n"
    assert (done.returncode, done.stderr) == (1, said)


@pytest.mark.parametrize(
    ("error", "full"),
    [
        (OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), True),
        (OSError(errno.EDQUOT, os.strerror(errno.EDQUOT)), True),
        (RuntimeError("Error while serializing: No space left on device (os error 28)"), True),
        (OSError(errno.EACCES, os.strerror(errno.EACCES)), False),
        (RuntimeError("CUDA out of memory"), False),
    ],
)
def test_what_counts_as_a_full_disk(error, full, tmp_path):
    assert is_full(error) is full
    outer = ValueError("the cache cannot be written")
    outer.__cause__ = error
    assert is_full(outer) is full
    assert describe(outer)["text"].startswith(TOLD) is full
    with pytest.raises(StorageError if full else type(error)), full_disk_told(tmp_path):
        raise error
