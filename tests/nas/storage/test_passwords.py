"""A password opens the database and is written nowhere."""

import subprocess
import sys

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import URL, make_url

import nas.search
from nas.errors import RunError, StorageError
from nas.record import Record
from nas.run import Run
from nas.storage_url import PASSWORD, StorageUrl, masked, shown
from tests.nas.storage.recording import OBJECTIVES
from tests.nas.storage.searching import finished, start

SECRET = "s3cr:t/@%41 x"


@given(st.text(min_size=1))
def test_any_password_is_kept_apart_and_put_back(secret):
    text = URL.create("postgresql", "me", secret, "host", 5433, "db").render_as_string(
        hide_password=False
    )
    read = StorageUrl.of(text)
    assert make_url(read.full).password == secret
    assert make_url(read.text).password is None
    assert shown(read.full) == read.text
    assert repr(read) == f"StorageUrl(text={read.text!r})"


@given(st.text(min_size=3).map(lambda s: f"§{s}§"))
def test_a_command_is_written_without_the_password(secret):
    assert secret not in masked(f"--storage=postgresql://me:{secret}@host/db")


def test_texts_without_a_password_stay_as_they_are():
    for text in (
        "folder:/data/images",
        "postgresql://me@host/db",
        "/a:b@c",
        "x=1@2",
        "sqlite:///a.db",
    ):
        assert masked(text) == text


def test_the_password_of_the_environment_is_used_where_the_url_has_none(monkeypatch):
    monkeypatch.setenv(PASSWORD, SECRET)
    assert make_url(StorageUrl.of("mysql://me@host/db").full).password == SECRET
    assert make_url(StorageUrl.of("mysql://me:own@host/db").full).password == "own"
    assert StorageUrl.of("sqlite:////a.db").full == "sqlite:////a.db"


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (f"oracle://me:{SECRET[:4]}@host/db", "no study can be kept in 'oracle'"),
        (f"postgresql://me:{SECRET[:4]}@host", "names no database"),
        (f"postgresql://me:{SECRET[:4]}@host:x/db", "is no storage URL"),
        (f"postgresql://host/db?password={SECRET[:4]}", "write USER:PASSWORD@HOST"),
        ("sqlite://", "names no database"),
        ("sqlite:///:memory:", "in memory"),
        ("study.db", "is no storage URL"),
    ],
)
def test_wrong_urls_are_refused_without_the_password(text, says):
    with pytest.raises(RunError, match=says) as raised:
        StorageUrl.of(text)
    assert SECRET[:4] not in str(raised.value)


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("postgresql://a@HOST/db", "postgresql+psycopg2://b@host:5432/db?sslmode=require", True),
        ("mysql://a@h/db", "mariadb://a@h:3306/db", True),
        ("postgresql://a@h/db", "postgresql://a@h/other", False),
        ("postgresql://a@h/db", "postgresql://a@i/db", False),
        ("postgresql://a@h/db", "mysql://a@h/db", False),
        ("sqlite:////tmp/a.db", "sqlite:////tmp/../tmp/a.db", True),
        ("sqlite:////tmp/a.db", "sqlite:////tmp/b.db", False),
    ],
)
def test_what_makes_two_databases_the_same(one, other, same):
    assert (StorageUrl.of(one).database == StorageUrl.of(other).database) is same


def test_a_missing_driver_names_the_extra():
    code = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from nas.database import open_storage; from nas.errors import StorageError\n"
        "try: open_storage('postgresql+psycopg://me:s3cr3t@127.0.0.1:1/db')\n"
        "except StorageError as error: print(error)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120
    )
    assert "pip install 'nas-segmentation[postgres]'" in done.stdout
    assert "s3cr3t" not in done.stdout


@pytest.mark.full
def test_databases_that_cannot_be_opened_say_why(server):
    good = StorageUrl.of(server.url).text
    for bad, says in {
        good.replace(str(server.port), "1"): "cannot be reached .* is the server running",
        good.replace("127.0.0.1", "no.such.host.invalid"): "cannot be reached",
        good.replace("/nas", "/other"): "is not there|does not let us in",
        good.replace("nas@", "other:s3cr3t@"): "is not there|does not let us in",
    }.items():
        with pytest.raises(StorageError, match=says) as raised:
            Record(StorageUrl.of(bad).full, "run", OBJECTIVES)
        assert "s3cr3t" not in str(raised.value)


@pytest.fixture(scope="module")
def guarded(postgres_server):
    """A database that asks for a password."""
    hba = postgres_server.folder / "data" / "pg_hba.conf"
    text = hba.read_text()
    hba.write_text("host all guarded 127.0.0.1/32 scram-sha-256\n" + text)
    quoted = SECRET.replace("'", "''")
    postgres_server.query(f"CREATE ROLE guarded LOGIN PASSWORD '{quoted}'")
    postgres_server.query("ALTER DATABASE nas OWNER TO guarded; SELECT pg_reload_conf()")
    postgres_server.query("DROP SCHEMA public CASCADE; CREATE SCHEMA public AUTHORIZATION guarded")
    yield make_url(postgres_server.url).set(username="guarded")
    postgres_server.query(
        "DROP OWNED BY guarded; ALTER DATABASE nas OWNER TO nas; DROP ROLE guarded"
    )
    hba.write_text(text)
    postgres_server.query("SELECT pg_reload_conf()")
    postgres_server.query("CREATE SCHEMA IF NOT EXISTS public")


@pytest.mark.full
def test_a_search_writes_its_password_nowhere(tmp_path, guarded, monkeypatch, capfd):
    folder = tmp_path / "run"
    full = guarded.set(password=SECRET).render_as_string(hide_password=False)
    wrong = guarded.set(password="wr0ng").render_as_string(hide_password=False)
    ended, said = finished(start(folder, full, "3trials", evaluator="planted"))
    assert ended == "budget"
    for asked in ({}, {"storage": str(guarded)}, {"storage": wrong}):
        with pytest.raises(StorageError, match="does not let us in") as raised:
            nas.search.search(resume=folder, budget="4trials", **asked)
        said += str(raised.value)
    assert nas.search.search(resume=folder, budget="4trials", storage=full).ended == "budget"
    monkeypatch.setenv(PASSWORD, SECRET)
    assert nas.search.search(resume=folder, budget="5trials").ended == "budget"
    assert sum(t.counts for t in Run.open(folder).trials()) == 5
    said += "".join(capfd.readouterr())
    for secret in (SECRET[:4], "wr0ng"):
        assert secret not in said
        assert not [
            f for f in folder.rglob("*") if f.is_file() and secret.encode() in f.read_bytes()
        ]
    assert "postgresql+psycopg://guarded@127.0.0.1" in (folder / "run.yaml").read_text()
    command = yaml.safe_load((folder / "run.yaml").read_text())["command"]
    assert "postgresql://guarded:***@127.0.0.1" in command
