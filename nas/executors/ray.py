"""Trials on a Ray cluster: one warm actor for each that runs at once; nodes may come and go.

Ray starts the actors, finds them a place and says when one is lost. It repeats nothing by itself: a lost trial is a
Result "died", and the driver decides.
"""

from __future__ import annotations

import queue
import time
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from nas.errors import NasError, RunError
from nas.executors import Event, Job, Pool, ray_boot
from nas.executors.bench import GRACE_S
from nas.executors.parcel import packages
from nas.executors.ray_node import Beat, Checked
from nas.executors.ray_nodes import Need, Nodes, free
from nas.executors.ray_orders import Outfit, describe_loss, is_of_node
from nas.executors.ray_remote import Lost, Place, Remote
from nas.executors.worker import cpus
from nas.gpus import visible
from nas.job import Note, Result
from nas.ray_start import start

LOOK_S = 3.0
"""Seconds between two looks at the cluster's nodes."""
WAITING_S = 30.0
"""Seconds without a worker after which a person is told; then after twice as long, and so on."""
LEAVE_S = 5.0
"""Seconds that workers have to clean up behind them."""
STILLBORN = 5
"""Workers in a row that end before they are ready, after which the search cannot go on."""


class RayExecutor:
    """Runs each job in a process of its own, next to an actor on a node of a Ray cluster.

    Joins the cluster at the pool's address, or starts one on this machine, when it is made; actors are started with
    the first look at `capacity`. Raises RunError or NasError where that is impossible; `poll` does later, where a node
    cannot run the jobs (another PyTorch, no data set) or workers do not start.
    """

    def __init__(self, pool: Pool) -> None:
        self._pool, self._need = pool, Need.of(pool)
        _check_address(pool.address)
        gpus = len(visible()) if self._need.gpus and pool.address is None else 0
        self._session = start(pool.address, cpus=cpus(), gpus=gpus)
        self._remotes: list[Remote] = []
        try:
            self._nodes = Nodes.find(self._need)
        except BaseException:
            self._session.close()
            raise
        self._first = set(self._nodes.alive)
        self._inbox: queue.SimpleQueue[tuple[Remote, Any]] = queue.SimpleQueue()
        self._events: deque[Event] = deque()
        self._queue: deque[tuple[Job, float]] = deque()
        self._outfit = Outfit()
        self._package: Any = None
        self._say(
            f"Ray: {self._nodes.describe()}, room for {self._nodes.room} at once of {self._need} each"
        )
        self._closed = False
        self._stopping = False
        self._apart: set[str] = set()
        self._stillborn = 0
        self._looked = self._tended = self._ready_at = time.monotonic()
        self._told_after = WAITING_S

    @property
    def capacity(self) -> int:
        """How many jobs may be out at once: as many as there are workers whose node is known to be fit for them."""
        self._staff()
        if not self._outfit.version:
            return sum(remote.state == "here" for remote in self._remotes)
        return sum(remote.is_ready(self._outfit.version) for remote in self._remotes)

    @property
    def places(self) -> list[Place]:
        """Where its workers are that have started."""
        return [remote.place for remote in self._remotes if remote.place is not None]

    def submit(self, job: Job) -> None:
        """Hand the job to a free worker, or to the first that is; raises NasError where none will be."""
        out = [r.job for r in self._remotes if r.job] + [queued for queued, _ in self._queue]
        if len(out) >= max(1, self.capacity):
            numbers = ", ".join(str(o.number) for o in out)
            raise NasError(
                f"out already: trial {numbers}; the cluster takes {self.capacity} at a time"
            )
        if self._stopping:
            self._stop()
        self._outfit.prepare(job)
        self._queue.append((job, time.monotonic()))
        self._staff()
        self._assign()

    def poll(self, timeout: float) -> Iterator[Event]:
        """Yield what has happened; waits at most `timeout` seconds for the first event. Raises RunError."""
        self._tend()
        wait = 0.0 if self._events else timeout
        while True:
            while self._events:
                yield self._events.popleft()
            try:
                remote, message = (
                    self._inbox.get(timeout=wait) if wait else self._inbox.get_nowait()
                )
            except queue.Empty:
                break
            wait = 0.0
            self._hear(remote, message)
        self._tend()
        while self._events:
            yield self._events.popleft()

    def stop_current(self) -> None:
        """Ask the running jobs to stop at their next step; may be called from a signal handler."""
        self._stopping = True

    def close(self) -> None:
        """End the workers, and what was started of Ray; may be called twice."""
        import ray

        if self._closed:
            return
        self._closed = True
        with suppress(Exception):  # a cluster that is gone has nothing left to clean
            left = [remote.leave() for remote in self._remotes if remote.place]
            ray.wait(left, timeout=LEAVE_S, num_returns=len(left))
        for remote in self._remotes:
            remote.kill()
        for remote in self._remotes:
            remote.join(LEAVE_S)
        self._outfit.close()
        self._session.close()

    def _tend(self) -> None:
        """Do what does not follow from a message: stop, give up, look at the nodes, start workers."""
        if self._stopping:
            self._stop()
        now = time.monotonic()
        if now - self._tended > LOOK_S + 1.0:  # it was the driver that was away
            for remote in self._remotes:
                remote.heard_at = now
        self._tended = now
        for remote in list(self._remotes):
            if remote.is_late:
                self._drop(remote, remote.end_job("stopped"))
            elif remote.is_silent:
                self._lose(remote, None)
        if now - self._looked > LOOK_S:
            self._looked = now
            self._events += map(Note, self._nodes.look())
        self._staff()
        self._assign()
        self._tell_waiting(now)

    def _stop(self) -> None:
        """Pass a request to stop on to the jobs that are out; those that wait for a worker end here."""
        self._stopping = False
        for remote in self._remotes:
            remote.stop()
        self._events += [Result(job.number, "stopped") for job, _ in self._queue]
        self._queue.clear()

    def _staff(self) -> None:
        """Start workers up to what the cluster takes; those on unfit nodes stay, so that none starts there again."""
        unfit = sum(remote.state in {"unfit", "broken"} for remote in self._remotes)
        wanted = self._pool.workers or max(0, self._nodes.room - unfit)
        for _ in range(wanted + unfit - len(self._remotes)):
            self._remotes.append(self._start())

    def _start(self) -> Remote:
        import ray

        cloudpickle: Any = ray.cloudpickle
        cloudpickle.register_pickle_by_value(ray_boot)
        if self._package is None:
            self._package = ray.put(packages())
        threads = str(max(1, int(self._need.cpus)))
        settings = {
            "folder": str(Path.cwd()),
            "environment": {"OMP_NUM_THREADS": threads, "OMP_WAIT_POLICY": "PASSIVE"},
            "grace_s": GRACE_S,
        }
        remote: Any = ray.remote
        kind = remote(
            num_cpus=self._need.cpus,
            num_gpus=self._need.gpus,
            max_restarts=0,
            max_task_retries=0,
            max_concurrency=3,
            scheduling_strategy="SPREAD",
        )
        actor = kind(ray_boot.Boot).remote(self._package, self._outfit.driver, settings)
        return Remote(actor, self._inbox)

    def _assign(self) -> None:
        """Check workers that have just come, and give jobs that wait to those that are free."""
        version = self._outfit.version
        for remote in self._remotes:
            if version and remote.is_unchecked(version):
                remote.check(self._outfit.check, self._outfit.token, version)
            if self._queue and remote.job is None and remote.is_ready(version):
                job, since = self._queue.popleft()
                remote.take(self._outfit.order(_shortened(job, time.monotonic() - since)))

    def _hear(self, remote: Remote, message: Any) -> None:
        """Take in what a worker says; a worker that was dropped is not heard any more."""
        if remote not in self._remotes or isinstance(message, Beat):
            return
        if isinstance(message, Lost):
            self._lose(remote, message.error)
        elif isinstance(message, tuple):
            self._greet(remote, *message[1:])
        elif isinstance(message, Checked):
            self._judge(remote, message)
        else:
            event = remote.hear(message)
            if event is not None:
                self._events.append(event)
        self._assign()

    def _greet(self, remote: Remote, facts: dict[str, Any], problem: str) -> None:
        remote.place = Place(facts["id"], facts["address"], facts["host"], facts["pid"])
        remote.state = "here"
        if problem:
            self._refuse(remote, f"cannot run our code: {problem}")
            remote.state = "broken"

    def _judge(self, remote: Remote, checked: Checked) -> None:
        """Use a worker whose node is fit; start another one in place of one that was killed over it."""
        error = checked.result.error
        if checked.result.state == "died" and error:
            self._drop(remote, None)
            self._count_stillborn(error)
            return
        if error:
            self._refuse(remote, f"cannot run the trials: {error['type']}: {error['text']}")
            return
        remote.state, remote.shared = "ready", checked.shared
        self._stillborn, self._ready_at, self._told_after = 0, time.monotonic(), WAITING_S
        assert remote.place is not None
        if not checked.shared and remote.place.node_id not in self._apart:
            self._apart.add(remote.place.node_id)
            folder = self._outfit.token.parent.parent
            self._say(f"node {remote.place} does not see {folder}: checkpoints travel through Ray")

    def _refuse(self, remote: Remote, why: str) -> None:
        """Leave a node alone that joined later and is unfit. Raises RunError for one that was there from the start."""
        assert remote.place is not None
        remote.state = "unfit"
        if remote.place.node_id in self._first:
            raise RunError(f"node {remote.place} {why}")
        self._say(f"node {remote.place} is left alone: it {why}")

    def _lose(self, remote: Remote, error: BaseException | None) -> None:
        """Write off a worker that is gone or frozen. Raises RunError where one after the other does not even start."""
        what = describe_loss(remote, error)
        self._drop(remote, remote.end_job("died", what))
        if remote.state != "ready" and not is_of_node(error):
            self._count_stillborn(what)

    def _count_stillborn(self, what: Mapping[str, str]) -> None:
        self._stillborn += 1
        if self._stillborn >= STILLBORN:
            raise RunError(
                f"{STILLBORN} workers in a row ended before they were ready; the last: {what['text']}\n"
                f"{what['traceback']}"
            )

    def _drop(self, remote: Remote, result: Result | None) -> None:
        self._remotes.remove(remote)
        remote.kill()
        if result is not None:
            self._events.append(result)

    def _tell_waiting(self, now: float) -> None:
        """Say from time to time that nothing can run."""
        if any(remote.state in {"ready", "here", "checking"} for remote in self._remotes):
            self._ready_at = now
        waited = now - self._ready_at
        if waited > self._told_after:
            self._told_after = 2 * waited
            self._say(
                f"no worker for {waited:.0f} s: a trial takes {self._need}, the cluster has {self._nodes.describe()}"
                f" and {free()} free"
            )

    def _say(self, text: str) -> None:
        self._events.append(Note(text))


def _shortened(job: Job, waited: float) -> Job:
    """Return the job with what is left of its time after it waited for a worker."""
    if job.seconds_left is None:
        return job
    return replace(job, seconds_left=max(0.0, job.seconds_left - waited))


def _check_address(address: str | None) -> None:
    """Raise RunError for a Ray client, over which results cannot be streamed."""
    if address is not None and "://" in address:
        raise RunError(
            f"{address}: a Ray client cannot pass on what trials report while they run; start the search on a machine"
            " of the cluster, and give --address auto or HOST:PORT"
        )
