"""What goes along with a job to another node, and what is said of one that came to nothing there."""

from __future__ import annotations

import importlib
import secrets
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas import registry
from nas.asked import digest
from nas.errors import NasError
from nas.executors.parcel import Sheet
from nas.executors.ray_node import Order
from nas.executors.ray_remote import SILENCE_S, Remote
from nas.job import Job
from nas.run import versions

BROUGHT = ("latency_table",)
"""Fields of `Job.given` that name a file of the driver's."""
CHECK = -2
"""The number of a job that checks a node."""
NODE = "because its node has died"
CAUSES = {
    NODE: "the node is gone",
    "running low on memory": "Ray ended it for want of memory",
    "worker process has died": "its process was killed, or crashed",
    "process has died": "its process was killed, or crashed",
    "unavailable": "it cannot be reached any more: its node, or the network, is gone",
}
"""What Ray's longer texts come down to; the first that is found counts."""


class Outfit:
    """The files that jobs name, each read once, so that all nodes get what the driver had at first.

    `check` and `token` are of the last kind of job that was prepared, `version` counts these kinds from 1.
    """

    def __init__(self) -> None:
        self.driver = secrets.token_hex(8)
        self._sheets: dict[str, Sheet] = {}
        self._key: tuple[Any, ...] = ()
        self.version = 0
        self._tokens: dict[Path, Path] = {}
        self.check = Order(Job(number=CHECK, architecture="", seed=0))
        self.token = Path()

    def prepare(self, job: Job) -> None:
        """Remember what a node needs for such a job, which it is to be checked for."""
        files = _files(job)
        key = (job.data, files, job.plugins, job.device, job.cache)
        if key == self._key:
            return
        self._key, self.token = key, self._token(job.cache.resolve())
        self.version += 1
        order = self.order(job)
        given = {
            "torch": versions()["torch"],
            "data": _digest(job.data),
            "files": files,
        }
        plugins = tuple(p for p in order.job.plugins if p in self._sheets)
        check = replace(
            order.job,
            number=CHECK,
            architecture="{}",
            evaluator="node_check",
            folder=None,
            seconds_left=None,
            plugins=plugins,
            given=given,
        )
        self.check = Order(check, tuple(s for s in order.sheets if s.path in plugins))

    def order(self, job: Job) -> Order:
        """Return the job with absolute paths, and with the files that it names."""
        named = [*job.plugins, *(str(job.given[n]) for n in BROUGHT if job.given.get(n))]
        sheets = tuple(sheet for name in named if (sheet := self._sheet(name)) is not None)
        folder = None if job.folder is None else job.folder.resolve()
        return Order(replace(job, cache=job.cache.resolve(), folder=folder), sheets)

    def close(self) -> None:
        """Remove the files by which nodes know the driver's folder."""
        for token in self._tokens.values():
            with suppress(OSError):
                token.unlink(missing_ok=True)

    def _token(self, cache: Path) -> Path:
        """Make a file with a name that nobody knows in the folder that jobs share."""
        if cache not in self._tokens:
            cache.mkdir(parents=True, exist_ok=True)
            self._tokens[cache] = cache / f".driver-{self.driver}"
            self._tokens[cache].touch()
        return self._tokens[cache]

    def _sheet(self, name: str) -> Sheet | None:
        """Return a file with its content; None where it is not there, which the job will say itself."""
        if name not in self._sheets:
            with suppress(OSError):
                self._sheets[name] = Sheet(name, Path(name).read_bytes())
        return self._sheets.get(name)


def _files(job: Job) -> list[str]:
    """Return the files that the job's evaluator reads."""
    table = importlib.import_module("nas.evaluators.table")
    return [table.split_name(job.evaluator)[0]] if table.is_table(job.evaluator) else []


def _digest(data: str) -> str | None:
    """Return the digest of the driver's data set; None where it cannot be opened, which the job will say itself."""
    try:
        return digest(registry.domain().open_data(data))
    except NasError:
        return None


def is_of_node(error: BaseException | None) -> bool:
    """Return whether a worker was lost with its whole node."""
    return NODE in str(error)


def describe_loss(remote: Remote, error: BaseException | None) -> dict[str, str]:
    """Return type, text and traceback of a lost worker: which node it was on, and what Ray knows of its end."""
    said = "" if error is None else str(error)
    cause = next((short for mark, short in CAUSES.items() if mark in said), "")
    if error is None:
        cause = f"it has said nothing for {SILENCE_S:g} s"
    where = f"the worker on node {remote.place}" if remote.place else "a worker that was starting"
    text = f"{where} is lost: {cause or said.strip().partition(chr(10))[0] or 'it ended'}"
    return {"type": "WorkerDied", "text": text, "traceback": said}
