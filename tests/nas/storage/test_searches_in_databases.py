"""Whole searches whose study lives in a server, by real processes."""

import random
import shutil
import signal
import time

import pytest

import nas.search
from nas.errors import RunError
from nas.run import Run
from nas.storage_url import PASSWORD
from tests.nas.search import go
from tests.nas.storage.searching import TRIALS, finished, history, start, wait_for

pytestmark = pytest.mark.full


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """What an undisturbed search finds, its study in its own folder."""
    folder = tmp_path_factory.mktemp("whole") / "run"
    go.main(str(folder), "planted_slow", f"{TRIALS}trials")
    return history(folder)


def test_kills_of_the_driver_and_restarts_of_the_database(tmp_path, server, whole, monkeypatch):
    monkeypatch.setenv(PASSWORD, server.password)
    folder, rng = tmp_path / "run", random.Random(7)
    driver = start(folder, server.url)
    wait_for(folder, "began", 2)
    time.sleep(rng.uniform(0, 0.4))
    server.stop()
    time.sleep(rng.uniform(0, 1.0))
    server.start()
    wait_for(folder, "began", 4)
    time.sleep(rng.uniform(0, 0.4))
    driver.send_signal(signal.SIGKILL)
    said = "".join(driver.communicate())
    assert "does not answer" in said
    assert "is back" in said
    go.main(str(folder), "planted_slow", f"{TRIALS}trials", f"storage={server.url}")
    assert history(folder) == whole


def test_searches_share_a_database(tmp_path, postgres_server, whole):
    postgres_server.reset()
    folders = [tmp_path / "a" / "run", tmp_path / "b" / "run"]
    processes = [start(folder, postgres_server.url) for folder in folders]
    assert [finished(p)[0] for p in processes] == ["budget", "budget"]
    assert [history(f) for f in folders] == [whole, whole]
    names = [Run.open(f).study_name for f in folders]
    assert len(set(names)) == 2
    assert all(name.startswith("run-") for name in names)


def test_a_copy_of_the_run_is_not_searched_at_the_same_time(tmp_path, postgres_server):
    postgres_server.reset()
    folder, copy = tmp_path / "run", tmp_path / "copy"
    first = start(folder, postgres_server.url, "100trials")
    wait_for(folder, "began", 2)
    shutil.copytree(folder, copy)
    with pytest.raises(RunError, match=f"is being searched by process {first.pid} on "):
        nas.search.search(resume=copy, progress=False)
    first.send_signal(signal.SIGKILL)
    first.communicate()
    counted = sum(t.counts for t in Run.open(copy).trials())
    go.main(str(copy), "planted_slow", f"{counted + 2}trials")
    ended = Run.open(copy).trials()
    assert [t.number for t in ended] == list(range(len(ended)))
    assert not {"running", "waiting"} & {t.outcome for t in ended}
    assert Run.open(folder).trials() == ended
