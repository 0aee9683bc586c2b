"""Which study a run has, in a file of its own or in a database that many runs share; and who may write it."""

import os
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import optuna
import pytest
import yaml

import nas
import nas.search
from nas.database import open_storage
from nas.errors import RunError, StorageError
from nas.record import only_study, read_seconds, read_trials
from nas.run import Run
from nas.storage_url import StorageUrl
from tests.nas.storage.recording import OBJECTIVES, begun, history, opened, trained

PLANTED = Path(__file__).parents[1] / "search" / "planted.py"


@pytest.fixture
def find(tmp_path):
    """A search without training: planted scores, in this process."""

    def find(folder="run", **asked):
        known = {
            "data": "street:images=12,size=32x64",
            "evaluator": "planted",
            "executor": "in_process",
            "plugins": [PLANTED],
            "preflight": False,
            "progress": False,
            "device": "cpu",
            "run": tmp_path / folder,
        }
        return nas.search.search("tiny", **{"budget": "4trials", **known, **asked})

    return find


@pytest.fixture
def shared(tmp_path):
    """The URL of a SQLite file that runs share."""
    return f"sqlite:///{tmp_path}/studies.db"


def test_runs_that_share_a_file_keep_to_their_own_study(find, shared):
    runs = [find(name, storage=shared, seed=seed) for seed, name in enumerate("ab")]
    alone = [find(f"{name}/alone", seed=seed) for seed, name in enumerate("ab")]
    for run, own in zip(runs, alone, strict=True):
        assert history(run.trials())[0][2] == history(own.trials())[0][2]
        again = Run.open(run.folder)
        assert [t.architecture for t in again.trials()] == [t.architecture for t in own.trials()]
        assert nas.front(again).rows
        assert not (run.folder / "study.db").exists()
    assert history(runs[0].trials()) != history(runs[1].trials())
    names = {s.study_name for s in optuna.get_all_study_summaries(shared)}
    assert names == {run.study_name for run in runs}
    assert all(read_seconds(shared, name) > 0 for name in names)


def test_a_study_elsewhere_goes_on_as_one_of_the_run(find, shared):
    run = find(storage=shared)
    assert yaml.safe_load((run.folder / "run.yaml").read_text())["study"] == {
        "storage": shared,
        "name": run.study_name,
    }
    more = nas.search.search(resume=run.folder, budget="6trials", progress=False)
    assert [t.architecture for t in more.trials()] == [
        t.architecture for t in find("whole", budget="6trials").trials()
    ]


def test_a_resume_in_another_database_is_refused_with_the_difference(find, shared, tmp_path):
    run = find(storage=shared)
    other = f"sqlite:///{tmp_path}/other.db"
    with pytest.raises(RunError, match=f"storage: the run has {shared}, asked for {other}"):
        nas.search.search(resume=run.folder, storage=other, progress=False)
    own = find("own")
    with pytest.raises(RunError, match="storage: the run has its study in its own folder, asked"):
        nas.search.search(resume=own.folder, storage=shared, progress=False)
    assert nas.search.search(
        resume=run.folder, storage=f"sqlite:///{tmp_path}/./studies.db", progress=False
    ).ended


def test_a_study_that_is_gone_is_not_begun_anew(find, shared, tmp_path):
    for run in (find("elsewhere", storage=shared), find("own")):
        database = tmp_path / "studies.db" if run.settings.storage else run.folder / "study.db"
        database.unlink()
        with pytest.raises(RunError, match=f"there is no study {run.study_name} in"):
            nas.search.search(resume=run.folder, budget="6trials", progress=False)


def test_a_run_from_before_names_were_kept_has_the_study_of_its_file(find, tmp_path):
    run = find()
    file = run.folder / "run.yaml"
    content = yaml.safe_load(file.read_text())
    del content["study"]
    file.write_text(yaml.safe_dump(content))
    moved = run.folder.rename(tmp_path / "moved")
    assert Run.open(moved).study_name == "run"
    assert history(Run.open(moved).trials()) == history(nas.search.search(resume=moved).trials())
    more = nas.search.search(resume=moved, budget="5trials", progress=False)
    assert sum(t.counts for t in more.trials()) == 5
    assert only_study(more.study_url) == "run"


def test_a_file_in_a_folder_that_is_not_there_is_refused_before_anything_is_made(find, tmp_path):
    with pytest.raises(StorageError, match="none is no folder that we may write to"):
        find(storage=f"sqlite:///{tmp_path}/none/studies.db")
    assert not (tmp_path / "run").exists()


def test_a_second_writer_of_a_file_is_refused_from_anywhere(tmp_path, shared):
    first = opened(shared)
    with pytest.raises(
        RunError, match=f"is being searched by process {os.getpid()} on .+ since 20"
    ):
        opened(shared)
    opened(shared, "another").close()
    assert read_trials(shared, list(OBJECTIVES), "run") == []
    first.close()
    opened(shared).close()


HOLD = """
import sys
from tests.nas.storage.recording import begun, opened
record = opened(sys.argv[1])
begun(record)
print("held", flush=True)
sys.stdin.read()
"""


def _held(url):
    """A driver that has begun a trial, in a process of its own."""
    driver = subprocess.Popen(
        [sys.executable, "-c", HOLD, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert driver.stdout.readline() == "held\n"
    return driver


@pytest.mark.full
@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGSTOP])
def test_the_server_frees_the_study_of_a_dead_driver_only(server, url, end):
    driver = _held(url)
    try:
        driver.send_signal(end)
        if end == signal.SIGKILL:
            driver.wait()
            record = opened(url)
            assert record.given_back == [0]
            record.close()
        else:
            with pytest.raises(RunError, match=f"is being searched by process {driver.pid} on "):
                opened(url)
    finally:
        driver.kill()
        driver.communicate()


@pytest.mark.full
def test_what_a_server_keeps_is_what_a_file_keeps(server, url, tmp_path):
    records = [opened(u) for u in (url, f"sqlite:///{tmp_path}/study.db")]
    for record in records:
        for _ in range(3):
            trained(record)
        begun(record)
        record.give_back(3)
        trained(record)
        number = len(record.trials)
        begun(record)
        record.finish(number, "failed", {"reason": "x", "epochs": [{"note": "ä☃\0" * 20_000}]})
        record.spend(7.5)
        record.close()
    kept = [read_trials(r._url, list(OBJECTIVES), "run") for r in records]
    assert history(kept[0]) == history(kept[1])
    assert [t.epochs for t in kept[0]] == [t.epochs for t in kept[1]]
    assert [read_seconds(r._url, "run") for r in records] == [7.5, 7.5]
    studies = [optuna.load_study(study_name="run", storage=r._url) for r in records]
    assert [t.params for t in studies[0].trials] == [t.params for t in studies[1].trials]
    assert [t.constraints for t in studies[0].trials] == [t.constraints for t in studies[1].trials]


@pytest.mark.full
def test_tables_are_made_once_by_many_who_begin_together(server, url):
    with ThreadPoolExecutor(6) as pool:
        storages = list(pool.map(open_storage, [url] * 6))
    for storage in storages:
        assert storage.get_all_studies() == []
        storage.engine.dispose()
    assert server.count("alembic_version") == 1


@pytest.mark.full
def test_a_reader_makes_nothing(server, url):
    assert read_trials(url, list(OBJECTIVES), "run") == []
    assert read_seconds(url, "run") == 0.0
    assert server.tables() == 0


@pytest.mark.full
def test_a_role_that_may_only_read_can_read(postgres_server):
    postgres_server.reset()
    owner = StorageUrl.of(postgres_server.url).full
    record = opened(owner)
    trained(record)
    begun(record)
    postgres_server.query("CREATE ROLE looking LOGIN; GRANT USAGE ON SCHEMA public TO looking")
    postgres_server.query("GRANT SELECT ON ALL TABLES IN SCHEMA public TO looking")
    reader = owner.replace("nas@", "looking@")
    try:
        read = read_trials(reader, list(OBJECTIVES), "run")
        assert [t.outcome for t in read] == ["complete", "running"]
        with pytest.raises(StorageError, match="may not write there"):
            opened(reader, "another")
    finally:
        postgres_server.query("DROP OWNED BY looking; DROP ROLE looking")
        record.close()
