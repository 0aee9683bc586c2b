"""One search in a process of its own, and what kills parts of it at random moments; it goes on in the same folder.

Run as `killing.py FOLDER ASKED`: `ASKED` holds what `nas.search` is asked, as JSON, the table as "space".
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from nas.record import TrialRecord
from nas.run import Run

PATIENCE_S = 300.0
"""Seconds after which something that should have happened on a busy machine has not."""
OPEN = {"running", "waiting"}
Process = tuple[int, str]
"""A process id, and when it started: ids are used again."""


class Search:
    """A search that is started, killed and started again until its budget is used."""

    environment: Mapping[str, str] = {}

    def __init__(self, folder: Path, asked: Mapping[str, Any], trials: int) -> None:
        self.folder, self.asked, self.trials = folder, asked, trials
        self.driver: subprocess.Popen[bytes] | None = None
        self.seen: set[Process] = set()
        self.ended: dict[int, TrialRecord] = {}
        self.starts = self.driver_kills = self.worker_kills = 0
        self._begun = self._written = 0
        self._output = folder.with_name(f"{folder.name}.out")

    def go_on(self) -> None:
        """Start a driver unless one is running; one that has used the budget gets some more trials."""
        if self.driver is not None and self.driver.poll() is None:
            return
        if self.driver is not None and self.driver.returncode != -signal.SIGKILL:
            self._expect_end()
            self.trials += 20
        self._start()

    def finish(self) -> None:
        """Let the search come to its end."""
        self.go_on()
        assert self.driver is not None
        self.driver.wait(PATIENCE_S)
        self._expect_end()
        self.look()

    def kill_driver(self) -> bool:
        """Kill the driver unless it has ended; its workers must be gone soon, and what had ended must be as it was."""
        assert self.driver is not None
        self.note_processes()
        self.driver.kill()
        killed = self.driver.wait() == -signal.SIGKILL
        self.driver_kills += killed
        self.expect_no_processes()
        self.look()
        return killed

    def kill_worker(self, rng: random.Random) -> bool:
        """Kill one of the driver's workers, if there is one."""
        workers = self.note_processes()
        with suppress(ProcessLookupError, IndexError):
            os.kill(rng.choice(workers)[0], signal.SIGKILL)
            self.worker_kills += 1
            return True
        return False

    def wait(self, begun: int) -> None:
        """Wait until so many more trials have begun, or the driver has ended."""
        assert self.driver is not None
        until(lambda: self.driver.poll() is not None or self._count_begun() >= self._begun + begun)

    def wait_for_a_line(self) -> None:
        """Wait until the driver has written anything into its log, or has ended."""
        assert self.driver is not None
        until(lambda: self.driver.poll() is not None or self._lines() > self._written)

    def look(self) -> None:
        """Compare what is on record now with what had ended before: it must not change."""
        if not (self.folder / "run.yaml").exists():
            return
        trials = {t.number: t for t in Run.open(self.folder).trials()}
        for number, before in self.ended.items():
            assert trials[number] == before
        self.ended = {n: t for n, t in trials.items() if t.outcome not in OPEN}

    def note_processes(self) -> list[Process]:
        """Return the processes that run trials now, and remember them."""
        now = sorted(self.workers())
        self.seen |= set(now)
        return now

    def workers(self) -> set[Process]:
        """Return the processes that run trials."""
        assert self.driver is not None
        return descendants(self.driver.pid)

    def expect_no_processes(self) -> None:
        """Wait until all processes that any driver had are gone."""
        until(lambda: not [p for p in self.seen if is_alive(p)])

    def _start(self) -> None:
        asked = {**self.asked, "budget": f"{self.trials}trials"}
        self._begun, self._written = self._count_begun(), self._lines()
        self.starts += 1
        with self._output.open("w") as output:
            self.driver = subprocess.Popen(
                [sys.executable, __file__, str(self.folder), json.dumps(asked)],
                stdout=output,
                stderr=subprocess.STDOUT,
                env={
                    **os.environ,
                    "PYTHONPATH": os.pathsep.join(sys.path),
                    "OMP_NUM_THREADS": "1",
                    **self.environment,
                },
            )

    def _expect_end(self) -> None:
        assert self.driver is not None
        said = self._output.read_text()
        assert self.driver.returncode == 0, said
        assert said.splitlines()[-1] == "budget"

    def _count_begun(self) -> int:
        return self._log().count('"event": "began"')

    def _lines(self) -> int:
        return self._log().count("\n")

    def _log(self) -> str:
        log = self.folder / "log.jsonl"
        return log.read_text() if log.exists() else ""


def until(done: Callable[[], bool]) -> None:
    """Wait until `done`; fails when it takes too long."""
    end = time.monotonic() + PATIENCE_S
    while not done():
        assert time.monotonic() < end, "it has not happened"
        time.sleep(0.01)


def descendants(pid: int) -> set[Process]:
    """Return the processes that `pid` has started, and those that these have."""
    parents = dict(_all())
    found, fresh = set(), {pid}
    while fresh:
        children = {p for p, parent in parents.items() if parent in fresh}
        found |= children
        fresh = {p for p, _ in children}
    return found


def is_alive(process: Process) -> bool:
    """Return whether a process is there still, and is more than an entry that nobody has read."""
    return any(process == p for p, _ in _all())


def _all() -> Iterator[tuple[Process, int]]:
    """Yield every process of the machine that has not ended, and its parent's id."""
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            state, parent, *rest = (folder / "stat").read_text().rpartition(")")[2].split()
            if state not in "ZX":
                yield (int(folder.name), rest[17]), int(parent)


def main() -> None:
    from nas.search import search

    folder, asked = Path(sys.argv[1]), json.loads(sys.argv[2])
    if (folder / "run.yaml").exists():
        run = search(resume=folder, budget=asked["budget"], progress=False)
    else:
        run = search(**asked, run=folder, progress=False)
    print(run.ended)


if __name__ == "__main__":
    main()
