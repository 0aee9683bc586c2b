from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from data_files import image, in_memory, mask, save, write_camvid, write_folder, write_pairs
from numpy.typing import NDArray
from PIL import Image

from nas.errors import DataError
from search_spaces.data import DataSet, Sample, open_data, reader
from search_spaces.data.cityscapes import CLASSES as CITY_CLASSES
from search_spaces.data.cityscapes import IDS
from search_spaces.data.dataset import READERS


def arrays(data: DataSet, split: str) -> list[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    return [data.read(s) for s in data.split(split)]


def test_camvid_reads_both_splits_and_maps_void(tmp_path: Path) -> None:
    data = open_data(f"camvid:{write_camvid(tmp_path)}")
    assert {name: len(s) for name, s in data.splits.items()} == {"train": 3, "val": 2}
    assert data.classes[:4] == ("sky", "building", "pole", "road")
    assert data.palette.shape == (11, 3)
    assert data.size == (12, 16)
    for number, (_, found) in enumerate(arrays(data, "train")):
        written = mask(number, 12)
        np.testing.assert_array_equal(found, np.where(written == 11, 255, written))


def test_camvid_opens_again_by_its_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_camvid(tmp_path / "data")
    monkeypatch.chdir(tmp_path)
    text = open_data("camvid:data").text
    monkeypatch.chdir("/")
    assert open_data(text).splits == open_data(f"camvid:{tmp_path / 'data'}").splits


def test_camvid_without_its_folders_says_what_is_expected(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"expected train/images, train/masks"):
        open_data(f"camvid:{tmp_path}")
    with pytest.raises(DataError, match=r"write camvid:DIR"):
        open_data("camvid")


@pytest.mark.parametrize("ready", [False, True])
def test_cityscapes_maps_34_ids_to_19_classes(tmp_path: Path, ready: bool) -> None:
    ids = np.resize(np.array([*range(34), 255], np.uint8), (12, 16))
    train_ids = np.vectorize(IDS.__getitem__, otypes=[np.uint8])(ids)
    for split in ("train", "val"):
        stem = f"{split}/ulm/ulm_000000_000019"
        save(tmp_path / "leftImg8bit" / f"{stem}_leftImg8bit.png", image(0))
        save(tmp_path / "gtFine" / f"{stem}_gtFine_labelIds.png", ids)
        if ready:
            save(tmp_path / "gtFine" / f"{stem}_gtFine_labelTrainIds.png", train_ids)
    data = open_data(f"cityscapes:{tmp_path}")
    (_, found), *_ = arrays(data, "val")
    np.testing.assert_array_equal(found, train_ids)
    assert sorted(set(found.ravel().tolist())) == [*range(19), 255]
    assert data.classes[13] == "car"
    assert CITY_CLASSES["car"][0] == 26
    assert data.split("train")[0].mask is not None
    assert ("TrainIds" in str(data.split("train")[0].mask)) == ready


def test_cityscapes_names_images_without_mask(tmp_path: Path) -> None:
    save(tmp_path / "leftImg8bit/train/ulm/ulm_1_leftImg8bit.png", image(0))
    with pytest.raises(DataError, match=r"ulm_1_gtFine_labelIds\.png"):
        open_data(f"cityscapes:{tmp_path}")


def test_folder_draws_a_fifth_by_name(tmp_path: Path) -> None:
    data = open_data(f"folder:{write_folder(tmp_path, 20)}")
    names = {split: {s.name for s in samples} for split, samples in data.splits.items()}
    assert {k: len(v) for k, v in names.items()} == {"train": 16, "val": 4}
    assert not names["train"] & names["val"]
    assert open_data(f"folder:{tmp_path}").splits == data.splits
    assert len({tuple(c) for c in data.palette.tolist()}) == 3


@pytest.mark.parametrize("layout", ["images/{}|masks/{}", "{}/images|{}/masks"])
def test_folder_with_splits_in_subfolders(tmp_path: Path, layout: str) -> None:
    images, masks = layout.split("|")
    for split, names in (("train", ["a", "b"]), ("val", ["c"])):
        write_pairs(tmp_path / images.format(split), tmp_path / masks.format(split), names)
    (tmp_path / "classes.txt").write_text("road\ncar\ntree\n")
    data = open_data(f"folder:{tmp_path}")
    assert [s.name for s in data.split("train")] == ["a", "b"]
    assert [s.name for s in data.split("val")] == ["c"]


def test_folder_with_lists_of_names(tmp_path: Path) -> None:
    write_folder(tmp_path, 4)
    (tmp_path / "train.txt").write_text("p00\np02.png\n\nimages/p03.png\n")
    (tmp_path / "val.txt").write_text("p01\n")
    data = open_data(f"folder:{tmp_path}")
    assert [s.name for s in data.split("train")] == ["p00", "p02", "p03"]
    (tmp_path / "val.txt").write_text("p01\np09\n")
    with pytest.raises(DataError, match=r"val.txt names images that are not there\s+missing: p09"):
        open_data(f"folder:{tmp_path}")


def test_folder_with_yaml_classes(tmp_path: Path) -> None:
    write_folder(tmp_path)
    text = "names: [road, car]\ncolours: [[1, 2, 3], [4, 5, 6]]\nignore: 2\n"
    (tmp_path / "classes.yaml").write_text(text)
    data = open_data(f"folder:{tmp_path}")
    assert data.classes == ("road", "car")
    assert data.palette.tolist() == [[1, 2, 3], [4, 5, 6]]
    assert set(np.unique(data.read(data.split("train")[0])[1]).tolist()) == {0, 1, 255}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("names: [a, a]", "'a' stands there twice"),
        ("names: []", "no class names"),
        ("colours: 3", r"expected names: \[road, car\]"),
        ("names: [a, b]\nignored: 3", "did you mean 'ignore'"),
        ("names: [a, b]\nignore: 1", "a whole number from 2 to 255"),
        ("names: [a, b]\ncolours: [[1, 2, 3]]", "expected 2 colours"),
        ("names: [a, b]\ncolours: [[1, 2, 3], red]", "expected 2 colours"),
        ("names: [a", "not YAML"),
    ],
)
def test_folder_with_wrong_yaml(tmp_path: Path, text: str, told: str) -> None:
    write_folder(tmp_path)
    (tmp_path / "classes.yaml").write_text(text)
    with pytest.raises(DataError, match=told) as error:
        open_data(f"folder:{tmp_path}")
    assert "classes.yaml" in str(error.value)


@pytest.mark.parametrize("ending", [".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".JPG"])
def test_folder_reads_images_of_all_kinds(tmp_path: Path, ending: str) -> None:
    write_pairs(tmp_path / "images", tmp_path / "masks", ["a", "b"], ending=ending)
    (tmp_path / "classes.txt").write_text("road\ncar\ntree\n")
    (tmp_path / "images" / ".DS_Store").write_text("")
    (tmp_path / "images" / "Thumbs.db").write_text("")
    data = open_data(f"folder:{tmp_path}")
    for split in ("train", "val"):
        for found, _ in arrays(data, split):
            assert found.shape == (12, 16, 3)


def test_folder_without_class_list_says_how_to_write_one(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "classes.txt").unlink()
    with pytest.raises(
        DataError, match=r"classes.txt: no list of classes.*one class name per line"
    ):
        open_data(f"folder:{tmp_path}")


def test_folder_names_unpaired_files(tmp_path: Path) -> None:
    write_folder(tmp_path)
    (tmp_path / "masks" / "p01.png").unlink()
    (tmp_path / "images" / "p02.png").unlink()
    with pytest.raises(DataError) as error:
        open_data(f"folder:{tmp_path}")
    assert f"images without a mask: {tmp_path / 'images' / 'p01.png'}" in str(error.value)
    assert f"masks without an image: {tmp_path / 'masks' / 'p02.png'}" in str(error.value)


def test_folder_names_at_most_ten_unpaired_files(tmp_path: Path) -> None:
    write_folder(tmp_path, 14)
    for i in range(13):
        (tmp_path / "masks" / f"p{i:02}.png").unlink()
    with pytest.raises(DataError, match="and 3 more") as error:
        open_data(f"folder:{tmp_path}")
    assert str(error.value).count("images/p") == 10


def test_folder_with_one_name_twice(tmp_path: Path) -> None:
    write_folder(tmp_path)
    save(tmp_path / "images" / "p01.jpg", image(0))
    with pytest.raises(DataError, match=r"p01.png and .*p01.jpg have the same name"):
        open_data(f"folder:{tmp_path}")


def test_folder_that_is_not_there_or_empty(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder"):
        open_data(f"folder:{tmp_path / 'none'}")
    (tmp_path / "classes.txt").write_text("a\n")
    with pytest.raises(DataError, match=r"images: no such folder"):
        open_data(f"folder:{tmp_path}")
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    with pytest.raises(DataError, match="no images"):
        open_data(f"folder:{tmp_path}")


def broken(tmp_path: Path, change: str) -> tuple[DataSet, Path]:
    """Write a folder of which one sample is broken in one way; return it and the file to be named."""
    write_folder(tmp_path)
    picture, label = tmp_path / "images/p00.png", tmp_path / "masks/p00.png"
    match change:
        case "not an image":
            picture.write_bytes(b"<html>not found</html>")
        case "truncated":
            picture.write_bytes(picture.read_bytes()[:200])
        case "empty":
            label.write_bytes(b"")
        case "size":
            save(label, mask(0, size=(12, 15)))
        case "range":
            save(label, np.full((12, 16), 3, np.uint8))
        case "deep range":
            Image.fromarray(np.full((12, 16), 300, np.uint16)).save(label)
        case "channels":
            save(label, image(0))
        case "deep image":
            Image.fromarray(np.full((12, 16), 300, np.uint16)).save(picture)
    return open_data(f"folder:{tmp_path}"), picture if change in (
        "not an image",
        "truncated",
        "deep image",
    ) else label


BROKEN = {
    "not an image": "not a readable image",
    "truncated": "not a readable image",
    "empty": "not a readable image",
    "size": "the mask has 15x12 pixels, its image .* 16x12",
    "range": "no class has the value 3; expected 0 to 2, 255",
    "deep range": "no class has the value 300; expected 0 to 2, 255",
    "channels": "expected a mask with one channel, got 3 channels",
    "deep image": "expected an image of 8 bits a channel",
}


@pytest.mark.parametrize("change", BROKEN)
def test_broken_sample_is_named(tmp_path: Path, change: str) -> None:
    data, named = broken(tmp_path, change)
    sample = next(s for samples in data.splits.values() for s in samples if s.name == "p00")
    with pytest.raises(DataError, match=BROKEN[change]) as error:
        data.read(sample)
    assert str(error.value).startswith(f"{named}: ")


def test_masks_of_16_bits_and_of_two_levels_are_read(tmp_path: Path) -> None:
    write_folder(tmp_path)
    Image.fromarray(mask(0).astype(np.uint16)).save(tmp_path / "masks/p00.png")
    Image.fromarray(mask(1, 2).astype(bool)).save(tmp_path / "masks/p01.png")
    data = open_data(f"folder:{tmp_path}")
    found = {s.name: data.read(s)[1] for samples in data.splits.values() for s in samples}
    np.testing.assert_array_equal(found["p00"], mask(0))
    np.testing.assert_array_equal(found["p01"], mask(1, 2))


def test_image_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    write_folder(tmp_path, 2)
    for name in ("p00", "p01"):
        picture = Image.fromarray(image(0, (16, 12)))
        tag = picture.getexif()
        tag[0x0112] = 6
        (tmp_path / "images" / f"{name}.png").unlink()
        picture.save(tmp_path / "images" / f"{name}.jpg", exif=tag)
    data = open_data(f"folder:{tmp_path}")
    assert data.size == (12, 16)
    assert data.read(data.split("train")[0])[0].shape == (12, 16, 3)


def test_unknown_reader_is_answered_with_the_closest(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="did you mean 'camvid'"):
        open_data("camvit:somewhere")
    with pytest.raises(DataError, match=f"write folder:{tmp_path}"):
        open_data(str(tmp_path))


def test_own_reader_is_registered_once() -> None:
    pairs = [(image(i), mask(i)) for i in range(4)]
    reader("own")(lambda rest: in_memory(pairs[: int(rest)]))
    try:
        assert len(open_data("own:4").split("train")) == 4
        with pytest.raises(DataError, match="registered twice"):
            reader("own")(lambda rest: in_memory(pairs))
    finally:
        del READERS["own"]


def test_own_reader_is_checked() -> None:
    outside = in_memory([(image(0), np.full((12, 16), 3, np.uint8))])
    with pytest.raises(DataError, match="class 3 in the mask, expected 0 to 2 or 255"):
        outside.read(outside.split("val")[0])
    other = in_memory([(image(0), mask(0).T)])
    with pytest.raises(DataError, match="expected a mask"):
        other.read(other.split("val")[0])


def test_unknown_split_is_answered_with_the_closest() -> None:
    data = in_memory([(image(0), mask(0))])
    with pytest.raises(DataError, match="did you mean 'val'"):
        data.split("vall")


def test_search_split_is_a_partition_and_depends_on_the_seed() -> None:
    data = in_memory([(image(0), mask(0))] * 203)
    trained, scored = data.search_split(7)
    assert (len(trained), len(scored)) == (162, 41)
    assert set(trained) | set(scored) == set(data.split("train"))
    assert data.search_split(7) == (trained, scored)
    assert data.search_split(8)[1] != scored
    neighbours = sum(b.number - a.number == 1 for a, b in pairwise(scored))
    assert neighbours > 30


@pytest.mark.parametrize("count", [2, 3, 5, 41])
def test_search_split_of_few_images(count: int) -> None:
    data = in_memory([(image(0), mask(0))] * count)
    trained, scored = data.search_split(0, share=0.5)
    assert set(trained) | set(scored) == set(data.split("train"))
    assert trained
    assert scored


def test_search_split_that_leaves_nothing_is_refused() -> None:
    with pytest.raises(DataError, match="cannot be split"):
        in_memory([(image(0), mask(0))]).search_split(0)


def test_data_without_images_in_a_split_is_refused() -> None:
    data = in_memory([(image(0), mask(0))])
    with pytest.raises(DataError, match="no images in the split 'val'"):
        DataSet("d", "d", data.classes, data.palette, {"train": data.split("train")}, data.load)


def test_sample_is_told_by_its_file() -> None:
    assert str(Sample("a", Path("d/a.png"))) == "d/a.png"
    assert str(Sample("train-000001", number=1)) == "train-000001"
