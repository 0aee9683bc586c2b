"""What travels between driver and nodes arrives whole, and stays in its folder; a node's folder is ours alone."""

import io
import os
import zipfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import nas
from nas.errors import NasError, RunError, StorageError
from nas.executors import Job, ray_boot
from nas.executors.parcel import Sheet, contents, marks, packages, remove, unpack
from nas.executors.ray_node import Changed
from nas.executors.ray_nodes import Need, Node, Nodes
from nas.executors.ray_remote import Remote

names = st.lists(
    st.text("abc.", min_size=1, max_size=3).filter(lambda n: set(n) != {"."}),
    min_size=1,
    max_size=2,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(files=st.dictionaries(names.map("-".join), st.binary(max_size=20), max_size=4))
def test_a_folder_arrives_as_it_was(files, tmp_path_factory):
    here, there = tmp_path_factory.mktemp("here"), tmp_path_factory.mktemp("there")
    unpack(here, {f"deep/{name}": content for name, content in files.items()})
    unpack(there, contents(here, marks(here)))
    assert {f.relative_to(there): f.read_bytes() for f in there.rglob("*") if f.is_file()} == {
        Path("deep") / name: content for name, content in files.items()
    }
    remove(there, marks(here))
    assert not marks(there)


def test_drafts_do_not_travel(tmp_path):
    (tmp_path / ".trial.pt.12.draft").touch()
    (tmp_path / "trial.pt").touch()
    assert list(marks(tmp_path)) == ["trial.pt"]


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/out"])
def test_no_file_leaves_its_folder(tmp_path, name):
    with pytest.raises(NasError, match="lies outside its job's folder"):
        unpack(tmp_path / "job", {name: b""})
    with pytest.raises(NasError, match="lies outside its job's folder"):
        remove(tmp_path / "job", [name])


def test_our_code_is_the_same_bytes_each_time_and_all_of_it():
    package = packages()
    assert package == packages()
    with zipfile.ZipFile(io.BytesIO(package)) as archive:
        found = {name for name in archive.namelist() if name.startswith("nas/")}
        assert archive.read("nas/pool.py") == Path(nas.__file__).with_name("pool.py").read_bytes()
    root = Path(nas.__file__).parent
    files = {f for f in root.rglob("*") if f.is_file() and "__pycache__" not in f.parts}
    assert found == {f"nas/{f.relative_to(root).as_posix()}" for f in files}


def test_a_file_is_used_in_its_place_only_where_it_is_the_same(tmp_path):
    plugin = tmp_path / "mine.py"
    plugin.write_bytes(b"1")
    sheet = Sheet(str(plugin), b"1")
    assert sheet.place(tmp_path / "node") == str(plugin)
    plugin.write_bytes(b"2")
    own = Path(sheet.place(tmp_path / "node"))
    assert (own.name, own.read_bytes()) == ("mine.py", b"1")
    assert tmp_path / "node" in own.parents


@pytest.fixture
def temporary(tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def test_folders_of_killed_drivers_go_and_those_in_use_stay(temporary):
    first, lock = ray_boot.node_folder("first")
    second, _ = ray_boot.node_folder("second")
    assert first.is_dir()
    lock.close()
    ray_boot.node_folder("third")
    assert second.is_dir()
    assert not first.exists()


def test_a_folder_that_others_can_enter_is_not_used(temporary):
    base = temporary / f"nas-node-{os.getuid()}"
    base.mkdir()
    base.chmod(0o755)
    with pytest.raises(RuntimeError, match=r"nas-node-\d+ should be a folder that only user"):
        ray_boot.node_folder("mine")


def test_code_is_unpacked_once_and_can_be_imported_from_there(temporary):
    home, _ = ray_boot.node_folder("mine")
    package = packages()
    code = ray_boot.unpacked(package, home)
    stamp = (code / "nas" / "pool.py").stat().st_mtime_ns
    assert ray_boot.unpacked(package, home) == code
    assert (code / "nas" / "pool.py").stat().st_mtime_ns == stamp
    assert not list(home.glob("draft-*"))


@pytest.mark.parametrize(
    ("cpus", "gpus", "need", "room"),
    [
        (8, 0, Need(1), 8),
        (8, 0, Need(3), 2),
        (1, 0, Need(0.1), 10),
        (8, 0, Need(1, 1), 0),
        (8, 2, Need(1, 0.5), 4),
        (8, 2, Need(1, 0.3), 6),
        (8, 2, Need(4, 0.5), 2),
        (8, 3, Need(1, 2), 1),
        (8, 1, Need(1, 0.1), 8),
    ],
)
def test_room_of_a_node(cpus, gpus, need, room):
    assert Node("id", "10.0.0.1", "host", cpus, gpus).room(need) == room


def test_nodes_that_come_and_go_are_told(monkeypatch):
    one = Node("1" * 56, "10.0.0.1", "a", 4, 0)
    two = Node("2" * 56, "10.0.0.2", "b", 2, 0)
    monkeypatch.setattr("nas.executors.ray_nodes._alive", lambda: {one.id: one})
    nodes = Nodes.find(Need(2))
    assert (nodes.room, nodes.describe()) == (2, "1 node with 4 CPUs")
    assert list(nodes._compare({one.id: one, two.id: two})) == [
        "node 10.0.0.2 (b, 22222222) joined: room for 3 at once"
    ]
    assert list(nodes._compare({two.id: two})) == [
        "node 10.0.0.1 (a, 11111111) is gone: room for 1 at once"
    ]
    with pytest.raises(RunError, match=r"takes 5 CPUs: 10\.0\.0\.1 \(a, 1+\) has 4"):
        Nodes.find(Need(5))


def test_a_checkpoint_that_cannot_be_kept_ends_the_search(tmp_path):
    (tmp_path / "trials").touch()  # a file where the folder should be
    remote = object.__new__(Remote)
    remote.place, remote._epochs = None, []
    remote.job = Job(number=3, architecture="{}", seed=0, folder=tmp_path / "trials" / "3")
    assert remote.hear(Changed(2, {"trial.pt": b"x"})) is None
    with pytest.raises(StorageError, match=r"cannot be kept: .*; make space there"):
        remote.hear(Changed(3, {"trial.pt": b"x"}))
