"""Writes small data sets in the layouts that the readers know."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from search_spaces.data import DataSet, Sample
from search_spaces.data.colour import distinct_colours

SIZE = (12, 16)


def image(seed: int, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, 256, (*size, 3), np.uint8)


def mask(seed: int, classes: int = 3, size: tuple[int, int] = SIZE) -> NDArray[np.uint8]:
    return np.random.default_rng(seed).integers(0, classes, size, np.uint8)


def save(path: Path, array: NDArray[np.generic], palette: bool = False) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    picture = Image.fromarray(array)
    if palette:
        picture = picture.convert("L")
        picture.putpalette([(7 * i) % 256 for i in range(768)])
    picture.save(path)
    return path


def write_pairs(
    images: Path, masks: Path, names: list[str], classes: int = 3, ending: str = ".png"
) -> None:
    for number, name in enumerate(names):
        save(images / f"{name}{ending}", image(number))
        save(masks / f"{name}.png", mask(number, classes), palette=bool(number % 2))


def write_folder(root: Path, count: int = 5) -> Path:
    """Write images/, masks/ and classes.txt with three classes."""
    write_pairs(root / "images", root / "masks", [f"p{i:02}" for i in range(count)])
    (root / "classes.txt").write_text("road\ncar\ntree\n")
    return root


def write_camvid(root: Path, train: int = 3, val: int = 2) -> Path:
    for split, count in (("train", train), ("val", val)):
        names = [f"{split}{i}" for i in range(count)]
        write_pairs(root / split / "images", root / split / "masks", names, 12, ".jpg")
    return root


def in_memory(
    pairs: list[tuple[NDArray[np.uint8], NDArray[np.uint8]]], classes: int = 3
) -> DataSet:
    """Return a data set of arrays, every one in both splits."""
    samples = tuple(Sample(f"s{i:03}", number=i) for i in range(len(pairs)))
    names = tuple(f"c{i}" for i in range(classes))
    splits = {"train": samples, "val": samples}
    return DataSet(
        "memory", "memory", names, distinct_colours(classes), splits, lambda s: pairs[s.number]
    )
