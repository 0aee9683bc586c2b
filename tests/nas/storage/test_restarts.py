"""Databases that go away while a driver writes: by a restart, or by a wire that is cut at the worst moment."""

import random
import threading
import time

import pytest
import sqlalchemy

from nas.database import Database
from nas.errors import RunError, StorageError
from nas.record import read_trials
from nas.storage_url import StorageUrl
from tests.nas.storage.proxy import Proxy
from tests.nas.storage.recording import OBJECTIVES, begun, history, opened, trained

pytestmark = pytest.mark.full


@pytest.fixture
def wire(server):
    proxy = Proxy(server.port)
    yield proxy
    proxy.end()


def through(wire, server):
    return StorageUrl.of(server.url.replace(str(server.port), str(wire.port))).full


def rows(url):
    """Number of rows of each table of trials."""
    engine = sqlalchemy.create_engine(url)
    tables = ("trials", "trial_params", "trial_values", "trial_user_attributes")
    with engine.connect() as connection:
        counts = {
            t: connection.execute(sqlalchemy.text(f"SELECT count(*) FROM {t}")).scalar()
            for t in tables
        }
    engine.dispose()
    return counts


@pytest.mark.parametrize("ghost", [False, True])
def test_a_commit_whose_answer_is_lost_is_written_once(server, url, wire, ghost):
    said = []
    record = opened(through(wire, server), say=said.append)
    trained(record)
    wire.ghost = ghost
    for write in (begun, lambda r: r.finish(1, "complete", {"seconds": 1.0}, [0.5, 8])):
        wire.cut_after = b"COMMIT"
        write(record)
        assert wire.cut_after is None
    trained(record)
    record.spend(5.0)
    record.close()
    assert wire.cuts == 2
    assert [line.partition(" (")[0] for line in said if "does not answer" in line] == [
        "the study's database does not answer"
    ] * 2
    assert history(read_trials(url, list(OBJECTIVES), "run")) == history(record.trials)
    kept = {"trials": 3, "trial_params": 18, "trial_values": 6}
    assert kept.items() <= rows(url).items()


def test_restarts_at_any_moment_lose_and_double_nothing(server, url):
    record = opened(url)
    stop = threading.Event()
    rng = random.Random(3)

    def restart():
        for _ in range(3):
            time.sleep(rng.uniform(0.2, 0.6))
            server.stop()
            time.sleep(0.3)
            server.start()
        stop.set()

    thread = threading.Thread(target=restart)
    thread.start()
    while not stop.is_set():
        trained(record)
        record.spend(float(len(record.trials)))
    thread.join()
    record.close()
    kept = read_trials(url, list(OBJECTIVES), "run")
    assert history(kept) == history(record.trials)
    assert {t.outcome for t in kept} == {"complete"}
    assert rows(url)["trials"] == len(kept) > 3


def test_a_restart_while_the_study_is_read(server, url, monkeypatch):
    record = opened(url)
    written = [trained(record) for _ in range(3)]
    record.close()
    load = Database.patiently

    def restarted(database, work):
        monkeypatch.setattr(Database, "patiently", load)
        server.stop()
        threading.Timer(0.5, server.start).start()
        return load(database, work)

    monkeypatch.setattr(Database, "patiently", restarted)
    record = opened(url)
    assert history(record.trials) == history(written)
    record.close()


def test_a_database_that_stays_away_ends_the_search_with_a_clear_error(server, url, wire):
    record = opened(through(wire, server))
    trained(record)
    wire.close()
    wire.cut_after = b"COMMIT"
    record._database._patience_s = 1.0
    with pytest.raises(StorageError, match=r"has not answered for .* go on with --resume"):
        trained(record)
    record.close()
    assert [t.number for t in read_trials(url, list(OBJECTIVES), "run")][:1] == [0]


def test_a_driver_is_told_who_has_taken_its_study(server, url):
    first = opened(url)
    first._database._drop()  # as when its connection breaks: the server lets go of the lock
    second = opened(url)
    with pytest.raises(RunError, match=r"is being searched by process \d+ on .+; wait for it"):
        trained(first)
    trained(second)
    second.close()
    first.close()
    assert len(read_trials(url, list(OBJECTIVES), "run")) == 1
