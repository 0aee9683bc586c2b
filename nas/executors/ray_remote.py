"""One actor on a Ray cluster, as the driver sees it: where it is, what it is doing, and whether it still answers."""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from typing import Any, Literal, cast

from nas.errors import StorageError
from nas.executors.bench import GRACE_S
from nas.executors.parcel import contents, marks, remove, unpack
from nas.executors.ray_node import Changed, Check, Order
from nas.executors.ray_nodes import named
from nas.executors.worker import STOP
from nas.job import Epoch, Job, Result

MARGIN_S = 15.0
"""Seconds that a node has beyond those of the job's grace, to say that it ended the job itself."""
VERDICT_S = 5.0
"""Seconds that Ray has to find out why an actor cannot be reached; it is given up in any case."""
SILENCE_S = 60.0
"""Seconds without a word after which an actor counts as frozen: an idle one speaks every five."""
State = Literal["starting", "here", "checking", "ready", "unfit", "broken"]


@dataclass(frozen=True, slots=True)
class Place:
    """Where an actor runs."""

    node_id: str
    address: str
    host: str
    pid: int

    def __str__(self) -> str:
        return named(self.address, self.host, self.node_id)


@dataclass(frozen=True, slots=True)
class Lost:
    """The last message of an actor: what Ray says of its end."""

    error: BaseException | None


class Remote:
    """An actor and the job that it has. What it says goes to `inbox` as (remote, message), read by a thread.

    `state`: "starting" until it has said hello ("here"), "checking" whether its node can run what is to come, then
    "ready" or "unfit"; "broken" is one that will never run anything. `version` is that of the last check, `shared` says
    whether the node sees the driver's folder.
    """

    def __init__(self, actor: Any, inbox: SimpleQueue[tuple[Remote, Any]]) -> None:
        self.actor = actor
        self.state: State = "starting"
        self.place: Place | None = None
        self.version = 0
        self.shared = True
        self.job: Job | None = None
        self.heard_at = self.began_at = time.monotonic()
        self._inbox = inbox
        self._epochs: list[Mapping[str, Any]] = []
        self._give_up = math.inf
        self._events = actor.events.options(num_returns="streaming").remote()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def is_ready(self, version: int) -> bool:
        """Whether it can take a job of the kind that check number `version` was for, or has one already."""
        return self.job is not None or (self.state == "ready" and self.version == version)

    def is_unchecked(self, version: int) -> bool:
        """Whether it should be checked now."""
        idle = self.job is None and self.state in {"here", "ready", "unfit"}
        return idle and self.version != version

    @property
    def is_late(self) -> bool:
        """Whether its job should have ended long ago, and its node did not end it."""
        return self.job is not None and time.monotonic() > self._give_up

    @property
    def is_silent(self) -> bool:
        """Whether it has not said anything for too long."""
        return self.place is not None and time.monotonic() - self.heard_at > SILENCE_S

    def check(self, order: Order, token: Path, version: int) -> None:
        """Ask it to find out whether its node can run what is to come."""
        self.state, self.version = "checking", version
        self._send(Check(order, token))

    def take(self, order: Order) -> None:
        """Hand out a job; the files of its folder go along where the node does not see it."""
        self.job, self._epochs, self.began_at = order.job, [], time.monotonic()
        left = order.job.seconds_left
        self._give_up = math.inf if left is None else self.began_at + left + GRACE_S + MARGIN_S
        if not self.shared:
            folder = order.job.folder
            files = {} if folder is None else contents(folder, marks(folder))
            order = replace(order, files=files)
        self._send(order)

    def stop(self) -> None:
        """Ask its job to stop."""
        if self.job is not None:
            self._give_up = min(self._give_up, time.monotonic() + GRACE_S + MARGIN_S)
            self._send(STOP)

    def hear(self, event: Epoch | Result | Changed) -> Epoch | Result | None:
        """Return an event of its job, if it is of the present one. Raises StorageError where files cannot be kept."""
        if self.job is None or event.number != self.job.number:
            return None
        if isinstance(event, Changed):
            self._keep(self.job, event)
            return None
        if isinstance(event, Epoch):
            self._epochs.append(event.values)
        else:
            self.job = None
        return event

    def end_job(self, state: str, error: Mapping[str, str] | None = None) -> Result | None:
        """Return the result of the job that will not say it itself, if there is one."""
        if self.job is None:
            return None
        number, self.job = self.job.number, None
        seconds = time.monotonic() - self.began_at
        return Result(number, cast(Any, state), {}, tuple(self._epochs), error, seconds)

    def leave(self) -> Any:
        """Ask it to clean up and go; return what Ray says when that is done."""
        return self.actor.leave.remote()

    def kill(self) -> None:
        """End it at once."""
        import ray

        with suppress(Exception):  # whatever Ray makes of an actor that is gone already
            ray.kill(self.actor)

    def join(self, seconds: float) -> None:
        """Wait for the end of the thread that reads, once the actor is killed."""
        self._reader.join(seconds)

    def _keep(self, job: Job, changed: Changed) -> None:
        """Do to the driver's copy of the job's folder what the job did to its own."""
        if job.folder is None:
            return
        try:
            unpack(job.folder, changed.files)
            remove(job.folder, changed.gone)
        except OSError as error:
            raise StorageError(
                f"{job.folder}: a checkpoint that came from node {self.place} cannot be kept:"
                f" {error.strerror or error}; make space there, then go on with --resume"
            ) from error

    def _send(self, message: Any) -> None:
        with suppress(Exception):  # an actor that is gone says so by its last message
            self.actor.send.remote(message)

    def _read(self) -> None:
        import ray

        error: BaseException | None = None
        try:
            for reference in self._events:
                messages = ray.get(reference)
                self.heard_at = time.monotonic()
                for message in messages:
                    self._inbox.put((self, message))
        except ray.exceptions.ActorUnavailableError as raised:
            error = self._verdict(raised)
        except Exception as raised:  # noqa: BLE001 - it is passed on
            error = raised
        self._inbox.put((self, Lost(error)))

    def _verdict(self, error: BaseException) -> BaseException:
        """Return what Ray finds out of a broken connection within `VERDICT_S`: the process is gone, or the node."""
        import ray

        end = time.monotonic() + VERDICT_S
        while (left := end - time.monotonic()) > 0:
            try:
                ray.get(self.actor.__ray_ready__.remote(), timeout=left)
            except ray.exceptions.ActorUnavailableError:
                time.sleep(0.1)
            except ray.exceptions.GetTimeoutError:
                break
            except ray.exceptions.RayError as known:
                return known
            else:
                break
        return error
