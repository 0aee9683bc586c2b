from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from data_files import image, in_memory, mask, save, write_folder

from nas.errors import DataError
from search_spaces.data import describe, open_data, prepare

ROOT = Path(__file__).parents[3]


def test_prepared_is_what_was_read(tmp_path: Path) -> None:
    data = open_data(f"folder:{write_folder(tmp_path / 'd')}")
    samples = data.split("train")
    prepared = prepare(data, samples, (12, 16), tmp_path / "cache")
    assert len(prepared) == len(samples)
    assert prepared.size == (12, 16)
    for number, sample in enumerate(samples):
        picture, label = data.read(sample)
        np.testing.assert_array_equal(prepared.images[number], picture)
        np.testing.assert_array_equal(prepared.masks[number], label)
        np.testing.assert_array_equal(
            prepared.counts[number], [*np.bincount(label.ravel(), minlength=3), 0]
        )
    assert prepared.sizes.tolist() == [[12, 16]] * len(samples)
    assert not prepared.images.flags.writeable


def test_a_second_call_reads_nothing(tmp_path: Path) -> None:
    data = open_data(f"folder:{write_folder(tmp_path / 'd')}")
    told: list[tuple[int, int]] = []
    first = prepare(data, data.split("train"), (6, 8), tmp_path / "c", lambda *p: told.append(p))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    again = prepare(data, data.split("train"), (6, 8), tmp_path / "c", lambda *p: told.append(p))
    assert again == first
    assert len(told) == 4


def test_what_the_content_depends_on_changes_the_folder(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "d")
    data = open_data(f"folder:{root}")
    train, val = data.split("train"), data.split("val")
    cache = tmp_path / "c"
    folders = {
        prepare(data, s, z, cache).folder
        for s in (train, val, train[:2])
        for z in ((6, 8), (12, 16))
    }
    assert len(folders) == 6
    assert train[0].image is not None
    save(train[0].image, image(99))
    os.utime(train[0].image, ns=(1, 1))
    assert prepare(data, train, (6, 8), cache).folder not in folders
    (root / "classes.yaml").write_text("names: [a, b]\nignore: 2")
    folders.add(prepare(open_data(f"folder:{root}"), train, (6, 8), cache).folder)
    assert len(folders) == 7


def test_scenes_of_another_seed_are_prepared_anew(tmp_path: Path) -> None:
    a, b = (open_data(f"street:images=2,size=16x32,seed={s}") for s in (0, 1))
    first, second = (prepare(d, d.split("train"), (16, 32), tmp_path) for d in (a, b))
    assert first.folder != second.folder
    assert (first.images != second.images).any()


def test_all_broken_samples_are_told_together(tmp_path: Path) -> None:
    root = write_folder(tmp_path / "d", 8)
    data = open_data(f"folder:{root}")
    first, second, third = data.split("train")[:3]
    assert first.image
    assert second.mask
    assert third.mask
    first.image.write_bytes(first.image.read_bytes()[:150])
    save(second.mask, image(0))
    save(third.mask, np.full((12, 16), 9, np.uint8))
    with pytest.raises(DataError, match="3 of the samples cannot be used") as error:
        prepare(data, data.split("train"), (12, 16), tmp_path / "c")
    for path in (first.image, second.mask, third.mask):
        assert f"\n  {path}: " in str(error.value)
    assert [p.name for p in (tmp_path / "c").iterdir() if p.suffix != ".lock"] == []


def test_at_most_ten_broken_samples_are_told(tmp_path: Path) -> None:
    data = in_memory([(image(i), mask(i, 5)) for i in range(40)])
    with pytest.raises(DataError, match="more than 10 samples cannot be used") as error:
        prepare(data, data.split("train"), (12, 16), tmp_path)
    assert str(error.value).count("\n") == 10


def test_missing_file_and_no_samples(tmp_path: Path) -> None:
    data = open_data(f"folder:{write_folder(tmp_path / 'd')}")
    with pytest.raises(DataError, match="no samples"):
        prepare(data, (), (12, 16), tmp_path / "c")
    mask_file = data.split("train")[0].mask
    assert mask_file is not None
    mask_file.unlink()
    with pytest.raises(DataError, match=str(mask_file)):
        prepare(data, data.split("train"), (12, 16), tmp_path / "c")


def test_pickled_it_stays_small_and_equal(tmp_path: Path) -> None:
    data = in_memory([(image(i, (64, 64)), mask(i, 3, (64, 64))) for i in range(9)])
    prepared = prepare(data, data.split("train"), (64, 64), tmp_path)
    assert prepared.images.shape == (9, 64, 64, 3)
    sent = pickle.dumps(prepared)
    assert len(sent) < 1000
    np.testing.assert_array_equal(pickle.loads(sent).images, prepared.images)


def test_describe_tells_shares_and_unseen_classes(tmp_path: Path) -> None:
    half = np.zeros((12, 16), np.uint8)
    half[:, 8:] = 1
    half[:3] = 255
    data = in_memory([(image(i), half) for i in range(4)])
    told = describe(data, {"train": prepare(data, data.split("train"), (24, 32), tmp_path)})
    assert told["images"] == {"train": 4, "val": 4}
    assert told["size"] == [12, 16]
    assert told["sizes"] == {"train": {"12x16": 4}}
    assert told["shares"]["train"] == {"c0": 0.5, "c1": 0.5, "c2": 0.0}
    assert told["void"]["train"] == pytest.approx(0.25)
    assert told["unseen"] == ["c2"]
    assert set(describe(data)) == {"data", "classes", "images", "size"}


def script(body: str, *arguments: str | Path) -> subprocess.Popen[str]:
    """Start Python on a few lines that may use `data`, `samples` and `cache` of a folder data set."""
    head = """
        import sys, time
        from pathlib import Path
        from search_spaces.data import open_data, prepare
        data = open_data(sys.argv[1]); samples = data.split("train"); cache = Path(sys.argv[2])
    """
    text = textwrap.dedent(head) + textwrap.dedent(body)
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-c", text, *map(str, arguments)]
    pipe = subprocess.PIPE
    return subprocess.Popen(command, env=environment, stdout=pipe, stderr=pipe, text=True)


@pytest.mark.full
def test_a_killed_writer_leaves_nothing_that_is_taken_for_whole(tmp_path: Path) -> None:
    text = f"folder:{write_folder(tmp_path / 'd', 10)}"
    cache = tmp_path / "c"
    body = """
        def slow(done, total):
            print(done, flush=True)
            time.sleep(60 if done == 4 else 0)
        prepare(data, samples, (12, 16), cache, slow)
    """
    writer = script(body, text, cache)
    assert writer.stdout is not None
    while writer.stdout.readline().strip() != "4":
        assert writer.poll() is None
    writer.send_signal(signal.SIGKILL)
    writer.communicate()
    assert len(list(cache.glob("*.partial"))) == 1
    data = open_data(text)
    prepared = prepare(data, data.split("train"), (12, 16), cache)
    for number, sample in enumerate(data.split("train")):
        np.testing.assert_array_equal(prepared.images[number], data.read(sample)[0])
        np.testing.assert_array_equal(prepared.masks[number], data.read(sample)[1])
    assert not list(cache.glob("*.partial"))


@pytest.mark.full
def test_what_a_killed_writer_of_other_data_left_is_removed_too(tmp_path: Path) -> None:
    data = open_data("street:images=2,size=16x32")
    (tmp_path / "other-key.1234.partial").mkdir()
    prepare(data, data.split("train"), (16, 32), tmp_path)
    assert not list(tmp_path.glob("*.partial"))


@pytest.mark.full
def test_of_two_processes_at_once_one_writes(tmp_path: Path) -> None:
    text, cache = f"folder:{write_folder(tmp_path / 'd', 20)}", tmp_path / "c"
    body = """
        steps = []
        def slow(done, total):
            steps.append(done); time.sleep(0.02)
        found = prepare(data, samples, (12, 16), cache, slow)
        print(len(steps), found.folder, int(found.images.sum()))
    """
    writers = [script(body, text, cache) for _ in range(2)]
    outputs = [w.communicate(timeout=120) for w in writers]
    assert [w.returncode for w in writers] == [0, 0], outputs
    last = [out.splitlines()[-1].split() for out, _ in outputs]
    assert sorted(int(steps) for steps, _, _ in last) == [0, 16]
    assert len({tuple(rest) for _, *rest in last}) == 1


@pytest.mark.full
def test_a_full_disk_is_told_as_one(tmp_path: Path) -> None:
    text, cache = f"folder:{write_folder(tmp_path / 'd')}", tmp_path / "c"
    body = """
        import resource
        from nas.errors import DataError
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        try:
            prepare(data, samples, (64, 64), cache)
        except DataError as error:
            print(error)
    """
    out, err = script(body, text, cache).communicate(timeout=120)
    assert "the disk is full" in out, err
    assert "0 MB" in out
    assert not list(cache.glob("*.partial"))


def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    data = in_memory([(image(0), mask(0))])
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="cannot write the prepared images"):
        prepare(data, data.split("train"), (12, 16), tmp_path / "file" / "cache")


def test_a_folder_with_a_file_lost(tmp_path: Path) -> None:
    data = in_memory([(image(0), mask(0))])
    prepared = prepare(data, data.split("train"), (12, 16), tmp_path)
    (prepared.folder / "images.npy").unlink()
    with pytest.raises(DataError, match="not a prepared data set"):
        prepare(data, data.split("train"), (12, 16), tmp_path).images  # noqa: B018
