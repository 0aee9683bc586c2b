"""Trials on a cluster of two real nodes: nodes that are killed, frozen, added, and that see nothing of the driver."""

import os
import signal
import time
from pathlib import Path

import pytest

from nas.errors import NasError, RunError
from nas.executors import Epoch, Job, Note, Pool, make
from tests.nas.executors.ray_cluster import Cluster, hides_folders, raylet_of, wait_for_room

pytest.importorskip("ray", reason="Ray is not installed")
pytestmark = pytest.mark.full

PLUGIN = Path(__file__).with_name("counting.py")
EPOCHS = 6


class Search:
    """An executor on a cluster, what it has said, and the jobs of a run with its folders."""

    def __init__(self, cluster, folder, **pool):
        self.run, self.journal = folder / "run", folder / "journal"
        for made in (self.run, self.journal):
            made.mkdir(exist_ok=True)
        self.executor = make(Pool(executor="ray", address=cluster.address, **pool))
        self.epochs, self.results, self.notes = [], {}, []

    def job(self, number, wait=None, **fields):
        recipe = {"epochs": EPOCHS, "wait": wait, "journal": str(self.journal)}
        fields = {"plugins": (str(PLUGIN),), "evaluator": "counting", **fields}
        return Job(
            number=number,
            architecture="{}",
            seed=0,
            recipe=recipe,
            cache=self.run / "cache",
            folder=self.run / "trials" / str(number),
            **fields,
        )

    def until(self, condition, otherwise, seconds=90.0):
        """Listen until the condition holds."""
        end = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < end, f"{otherwise}; said: {self.notes}, {self.results}"
            for event in self.executor.poll(0.2):
                if isinstance(event, Note):
                    self.notes.append(event.text)
                elif isinstance(event, Epoch):
                    self.epochs.append((event.number, event.values.get("epoch")))
                else:
                    self.results.setdefault(event.number, []).append(event)

    def ended(self, number, times=1):
        self.until(lambda: len(self.results.get(number, [])) == times, f"{number} does not end")
        return self.results[number][-1]

    def reached(self, number, epoch):
        self.until(lambda: (number, epoch) in self.epochs, f"{number} does not reach {epoch}")

    def ran(self, number):
        """Return the epochs of a job as they ran, with the folder that each one ran in."""
        lines = (self.journal / str(number)).read_text().splitlines()
        return [(int(line.split()[0]), line.split()[2]) for line in lines]


@pytest.fixture(scope="module")
def cluster():
    cluster = Cluster()
    before = {name: os.environ.get(name) for name in cluster.environment}
    os.environ.update(cluster.environment)
    yield cluster
    cluster.close()
    for name, value in before.items():
        os.environ.pop(name)
        if value is not None:
            os.environ[name] = value


def ready(search, workers):
    search.until(lambda: search.executor.capacity == workers, f"no {workers} workers")


@pytest.mark.parametrize("shared", [True, False])
def test_a_trial_of_a_killed_node_goes_on_from_its_last_checkpoint(cluster, tmp_path, shared):
    if not shared and not hides_folders():
        pytest.skip("no node can be started here that does not see a folder (unshare)")
    (tmp_path / "run").mkdir()
    hidden = [] if shared else [tmp_path / "run", PLUGIN.parent]
    first = cluster.add(hidden=hidden)
    wait_for_room(cluster, 1)
    search = Search(cluster, tmp_path)
    try:
        search.executor.submit(search.job(0, wait=4))
        search.reached(0, 3)
        second = cluster.add(hidden=hidden)
        ready(search, 2)
        search.executor.submit(search.job(1))
        assert search.ended(1).state == "complete"
        cluster.kill(first)
        died = search.ended(0)
        gone = "is gone: room for 1 at once"
        search.until(lambda: any(gone in text for text in search.notes), "no word of the node")
        assert died.state == "died"
        assert died.error["text"].startswith("the worker on node ")
        assert died.error["text"].endswith("is lost: the node is gone")
        (search.journal / "go").touch()
        search.executor.submit(search.job(0, wait=4))
        result = search.ended(0, 2)
        assert result.state == "complete"
        epochs, folders = zip(*search.ran(0), strict=True)
        assert epochs == (1, 2, 3, 4, 5, 6)
        assert [row["epoch"] for row in died.epochs + result.epochs] == [1, 2, 3, 4, 5, 6]
        there = str(search.run / "trials" / "0")
        assert {folder == there for folder in folders} == {shared}
        assert (result.metrics["file"] == str(PLUGIN)) == shared
        assert sum("checkpoints travel" in text for text in search.notes) == (0 if shared else 2)
    finally:
        search.executor.close()
        cluster.kill(second)


def test_an_address_that_cannot_be_joined_is_an_error(cluster):
    with pytest.raises(NasError, match=r"joined at '127\.0\.0\.1:9' \(Connection refused\); start"):
        make(Pool(executor="ray", address="127.0.0.1:9"))
    with pytest.raises(RunError, match="ray://x:10001: a Ray client cannot pass on what trials"):
        make(Pool(executor="ray", address="ray://x:10001"))


def test_a_search_waits_for_room_that_is_asked_for_and_uses_what_comes(cluster, tmp_path):
    node = cluster.add()
    wait_for_room(cluster, 1)
    search = Search(cluster, tmp_path, workers=2)
    try:
        ready(search, 1)
        more = cluster.add()
        ready(search, 2)
        os.kill(raylet_of(more), signal.SIGSTOP)
        ready(search, 1)
        assert any("joined: room for 2 at once" in text for text in search.notes)
        search.executor.submit(search.job(0))
        assert search.ended(0).state == "complete"
    finally:
        search.executor.close()
        cluster.kill(more)
        cluster.kill(node)
