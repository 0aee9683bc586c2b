"""Costs of leaves on disk: as measured, by the same code, or measured again."""

from __future__ import annotations

import json
import math
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nas import code_version, leaf, node_cache, registry
from nas.architecture import Architecture, load_architecture
from nas.choosers import random_chooser
from nas.cost import cost
from nas.node_cache import BATCH, NAME, NodeCache
from nas.resolve import resolve
from nas.space import load_space

ROOT = Path(__file__).parents[2]
SIZE = (64, 64)
KEY = bytes(range(32))
FACTS = (8, 32, 32, 10**12, 7, 0)
PLUGIN = '''
from torch import nn
from nas.fields import Place
from nas.registry import kind
{imported}

@kind("mine", "cell")
class Mine(nn.Sequential):
    """A block of somebody's own."""

    def __init__(self, channels: int, *, width: Place[int], stride: Place[int] = 1) -> None:
        super().__init__(nn.Conv2d(channels, width, {kernel}, stride, {kernel} // 2))
'''
ARCHITECTURE = """
task: {semantic: {classes: 3}}
input: [3, 64, 64]
encoder: {stages: {stem: 8, stages: [{width: 8, blocks: [{mine: {}}]}]}}
decoders: {semantic: {head: {fcn: {width: 8, finest: 4}}}}
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty cache for one test, none of it left open; sources count as old, even if they change meanwhile."""
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(registry, "LOADED", math.inf)
    code_version.versions.cache_clear()
    yield tmp_path / "cache"
    node_cache.node_cache.cache_clear()
    code_version.versions.cache_clear()


def forget() -> None:
    """Write what is pending and close, as the end of a process does."""
    store = node_cache.node_cache(node_cache.folder())
    assert store is not None
    store.flush()
    node_cache.node_cache.cache_clear()


def refuse(*_: Any) -> Any:
    raise AssertionError("measured again")


def architectures() -> list[Architecture]:
    rng = random.Random(7)
    spaces = [load_space(name) for name in ("tiny", "real_time") for _ in range(3)]
    return [resolve(space, random_chooser(rng)) for space in spaces]


def test_leaves_from_disk_are_those_measured(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drawn = architectures()
    measured = [cost(a, SIZE) for a in drawn]
    forget()
    monkeypatch.setattr(leaf, "_run", refuse)
    assert [cost(a, SIZE) for a in drawn] == measured
    with pytest.raises(AssertionError, match="measured again"):
        cost(drawn[0], (64, 96))


def test_an_error_is_not_remembered(folder: Path) -> None:
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            node_cache.remembered(conv(), "identity", "cost", lambda: (1 // 0,))
    assert node_cache.remembered(conv(), "identity", "cost", lambda: FACTS) == FACTS


def conv() -> Any:
    from nas.registry import KINDS, load

    load()
    return KINDS["conv"]


def test_facts_of_one_leaf_stand_beside_each_other(folder: Path) -> None:
    store = NodeCache(folder)
    store.put(KEY, "cost", FACTS)
    store.put(KEY, "memory", (1, 2))
    assert store.get(KEY, "cost") == FACTS
    store.flush()
    again = NodeCache(folder)
    assert (again.get(KEY, "cost"), again.get(KEY, "memory")) == (FACTS, (1, 2))
    assert again.get(KEY, "time") is None
    assert again.get(KEY[1:], "cost") is None


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_a_damaged_file_gives_what_was_written_or_nothing(
    folder: Path, data: st.DataObject
) -> None:
    rows = {bytes([n]) * 32: (n, n + 1) for n in range(40)}
    (folder / NAME).unlink(missing_ok=True)
    write(folder, rows)
    content = bytearray((folder / NAME).read_bytes())
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    (folder / NAME).write_bytes(content[: data.draw(st.integers(0, len(content)))])
    store = NodeCache(folder)
    for key, value in rows.items():
        assert store.get(key, "cost") in (None, value)
        store.put(key, "cost", value)
    store.flush()
    close(store)
    again = NodeCache(folder)
    assert all(again.get(key, "cost") == value for key, value in rows.items())
    close(again)


@pytest.mark.parametrize("place", range(100))
def test_a_damaged_header_does_not_close_the_file_for_ever(folder: Path, place: int) -> None:
    """SQLite takes a file of a newer write version, byte 18, for read-only."""
    before, after = ({bytes([n]) * 32: (n, n + 1) for n in numbers} for numbers in ((1, 2), (3, 4)))
    write(folder, before)
    content = bytearray((folder / NAME).read_bytes())
    content[place] ^= 1
    (folder / NAME).write_bytes(content)
    write(folder, after)
    again = NodeCache(folder)
    assert all(again.get(key, "cost") == value for key, value in after.items())
    close(again)


def write(folder: Path, rows: dict[bytes, tuple[int, ...]]) -> None:
    store = NodeCache(folder)
    for key, value in rows.items():
        store.put(key, "cost", value)
    store.flush()
    close(store)


def close(store: NodeCache) -> None:
    if store._connection is not None:
        store._connection.close()


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE facts SET value = '[1, 2, 3, 4, 5, 6]'",
        "UPDATE facts SET value = CAST('[1, 2, 3, 4, 5, 6]' AS BLOB)",
        "UPDATE facts SET checksum = NULL",
        "UPDATE facts SET fact = 'memory'",
        "UPDATE facts SET value = 17, checksum = 'text'",
        "DROP TABLE facts",
        "ALTER TABLE facts RENAME COLUMN checksum TO other",
    ],
)
def test_a_row_that_was_tampered_with_is_measured_again(folder: Path, change: str) -> None:
    write(folder, {KEY: FACTS})
    with sqlite3.connect(folder / NAME) as db:
        db.execute(change)
    db.close()
    store = NodeCache(folder)
    assert store.get(KEY, "cost") is None
    assert store.get(KEY, "memory") is None
    store.put(KEY, "cost", FACTS)
    store.flush()
    assert NodeCache(folder).get(KEY, "cost") == FACTS


@pytest.mark.parametrize("content", [b"", b"no database at all" * 100])
def test_a_file_that_is_no_database_is_begun_again(folder: Path, content: bytes) -> None:
    folder.mkdir()
    (folder / NAME).write_bytes(content)
    assert NodeCache(folder).get(KEY, "cost") is None
    write(folder, {KEY: FACTS})
    assert NodeCache(folder).get(KEY, "cost") == FACTS


def test_a_file_that_grew_too_large_is_begun_again(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write(folder, {KEY: FACTS})
    monkeypatch.setattr(node_cache, "LARGEST", 100)
    assert NodeCache(folder).get(KEY, "cost") is None


def test_without_a_folder_everything_is_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The folder cannot be made: a file stands in its way; no permission that the superuser would ignore."""
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("NAS_CACHE", str(tmp_path / "file" / "cache"))
    architecture = load_architecture("fcn_resnet18")
    counted = cost(architecture, SIZE)
    assert cost(architecture, SIZE) == counted
    (tmp_path / NAME).mkdir()
    store = NodeCache(tmp_path)
    store.put(KEY, "cost", FACTS)
    store.flush()
    assert store.get(KEY, "cost") is None


def test_a_locked_file_is_left_alone(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write(folder, {KEY: FACTS})
    owner = sqlite3.connect(folder / NAME)
    owner.execute("BEGIN EXCLUSIVE")
    connect = sqlite3.connect
    monkeypatch.setattr(sqlite3, "connect", lambda *a, **k: connect(*a, **{**k, "timeout": 0}))
    store = NodeCache(folder)
    store.put(KEY[::-1], "cost", FACTS)
    store.flush()
    owner.rollback()
    owner.close()
    assert store.get(KEY, "cost") == FACTS
    assert store.get(KEY[::-1], "cost") is None


def python(code: str, *arguments: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *arguments],
        cwd=ROOT,
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        text=True,
    )


WRITER = """
import sys
from pathlib import Path
from nas.node_cache import NodeCache
store = NodeCache(Path(sys.argv[1]))
for number in range(int(sys.argv[2]), int(sys.argv[3])):
    store.put(number.to_bytes(32, "big"), "cost", (number, 1))
    assert store.get(number.to_bytes(32, "big"), "cost") == (number, 1)
    if number % 100 == 0:
        store.flush()
        print(number, flush=True)
store.flush()
"""


def test_several_processes_write_at_once(folder: Path) -> None:
    first, last = 0, 2000
    writers = [
        python(WRITER, str(folder), str(start), str(start + 500))
        for start in range(first, last, 500)
    ]
    for writer in writers:
        writer.communicate(timeout=60)
        assert writer.returncode == 0
    store = NodeCache(folder)
    assert all(store.get(n.to_bytes(32, "big"), "cost") == (n, 1) for n in range(first, last))


def test_a_killed_process_loses_its_last_rows_only(folder: Path) -> None:
    writer = python(WRITER, str(folder), "1", str(10**9))
    assert writer.stdout is not None
    written = int([writer.stdout.readline() for _ in range(5)][-1])
    writer.send_signal(signal.SIGKILL)
    rest = writer.communicate()[0].split()
    written = int(rest[-1]) if rest else written
    store = NodeCache(folder)
    found = [store.get(n.to_bytes(32, "big"), "cost") for n in range(1, written + 1 + 2 * BATCH)]
    assert found[:written] == [(n, 1) for n in range(1, written + 1)]


def counted(folder: Path, *arguments: str, **environment: str) -> int:
    """MACs by the real command, in a process of its own."""
    command = [sys.executable, "-m", "nas", "cost", *arguments, "--json"]
    done = subprocess.run(
        command,
        env=os.environ | {"PYTHONPATH": f"{ROOT}:{folder}"} | environment,
        cwd=folder,
        check=True,
        capture_output=True,
        text=True,
    )
    return int(json.loads(done.stdout)["macs"])


@pytest.mark.full
def test_a_changed_block_never_gives_an_old_count(folder: Path, tmp_path: Path) -> None:
    """The kernel is a number in the plugin, then one that the plugin imports, then another one of that name."""
    plugin, other = tmp_path / "plugin.py", tmp_path / "sizes.py"
    (tmp_path / "net.yaml").write_text(ARCHITECTURE)
    macs = {}
    for kernel, constant in [("1", ""), ("K", "K = 3"), ("K", "K = 1")]:
        imported = "from sizes import K" if constant else ""
        plugin.write_text(PLUGIN.format(kernel=kernel, imported=imported))
        other.write_text(constant)
        macs[kernel, constant] = counted(tmp_path, "net.yaml", "--use", "plugin.py")
    assert macs["1", ""] == macs["K", "K = 1"]
    assert macs["K", "K = 3"] - macs["1", ""] == 8 * 8 * 8 * 16 * 16


TOUCHED = """
import os, sys, time
from nas.registry import KINDS, use_file
from nas.code_version import code_version
use_file(sys.argv[1])
if len(sys.argv) > 2:
    os.utime(sys.argv[1], (time.time() + 1, time.time() + 1))
print(code_version(KINDS["mine"].make))
"""


@pytest.mark.full
def test_a_file_changed_after_it_was_loaded_has_no_version(tmp_path: Path) -> None:
    plugin = tmp_path / "plugin.py"
    plugin.write_text(PLUGIN.format(kernel=3, imported=""))
    long_ago = time.time() - 100
    os.utime(plugin, (long_ago, long_ago))
    kept, touched = (
        python(TOUCHED, str(plugin), *given).communicate(timeout=60)[0].strip()
        for given in ((), ("touch",))
    )
    assert kept != "None"
    assert touched == "None"


def test_a_class_made_in_a_function_has_no_version() -> None:
    def made(kernel: int) -> type:
        class Block:
            size = kernel

        return Block

    assert code_version.code_version(made(3)) is None
    assert code_version.code_version(type("Anywhere", (), {"__module__": "nowhere.at.all"})) is None


def test_a_version_covers_what_is_imported_and_installed_packages_by_their_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "one.py").write_text("import numpy.linalg, os\nfrom two import thing\n")
    (tmp_path / "two.py").write_text("def thing():\n    import three.part, torch\n")
    (tmp_path / "three").mkdir()
    (tmp_path / "three" / "__init__.py").write_text("")
    (tmp_path / "three" / "part.py").write_text("import four_is_not_there\nfrom . import x\n")
    (tmp_path / "alone.py").write_text("")
    monkeypatch.syspath_prepend(tmp_path)
    files, installed = code_version._sources("one")
    names = {str(f.relative_to(tmp_path)) for f in files if f.is_relative_to(tmp_path)}
    assert names == {"one.py", "two.py", "three/__init__.py", "three/part.py"}
    domain = ROOT / "search_spaces" / "blocks" / "conv.py"
    assert domain in files
    assert {name.split()[0] for name in installed} == {"numpy"}
