"""Procedural street scenes: a data set of any size that needs no files, the same for the same seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from nas.errors import DataError, suggest
from search_spaces.data.camvid import CLASSES
from search_spaces.data.dataset import DataSet, Pair, Sample, reader
from search_spaces.data.scene import draw_scene

VERSION = 1
VAL = 1_000_000
SMALLEST = 16


@dataclass(frozen=True, slots=True)
class Scenes:
    """Draws a sample's scene from the seed and its number. `version` changes when the pictures do."""

    size: tuple[int, int]
    seed: int
    version: int = VERSION

    def __call__(self, sample: Sample) -> Pair:
        return draw_scene(np.random.default_rng([self.seed, sample.number]), self.size)


@reader("street")
def open_street(rest: str) -> DataSet:
    """Return scenes of a street in CamVid's 11 classes, for "images=400,val=100,size=128x256,seed=0" or parts of it.

    `images` are for training, `val` (a quarter of them where it is not given) for reporting; no scene is in both.
    """
    asked = _options(rest)
    images = _count("images", asked.get("images", "400"))
    val = _count("val", asked.get("val", str(max(1, images // 4))))
    size, seed = (
        _size(asked.get("size", "128x256")),
        _count("seed", asked.get("seed", "0"), least=0),
    )
    splits = {
        "train": tuple(Sample(f"train-{i:06}", number=i) for i in range(images)),
        "val": tuple(Sample(f"val-{i:06}", number=VAL + i) for i in range(val)),
    }
    text = f"street:images={images},val={val},size={size[0]}x{size[1]},seed={seed}"
    palette = np.array(list(CLASSES.values()), np.uint8)
    return DataSet("street", text, tuple(CLASSES), palette, splits, Scenes(size, seed))


def _options(rest: str) -> dict[str, str]:
    """Return {"images": "200", ...}; raises DataError for anything else than the four options."""
    known = ("images", "val", "size", "seed")
    asked: dict[str, str] = {}
    for part in filter(None, rest.split(",")):
        name, equals, value = part.partition("=")
        if name.strip() not in known or not equals:
            form = "expected street or street:images=400,val=100,size=128x256,seed=0"
            raise DataError(f"street: no option {part!r} ({form}); {suggest(name, known)}")
        asked[name.strip()] = value.strip()
    return asked


def _count(name: str, text: str, least: int = 1) -> int:
    if not text.isdecimal() or int(text) < least:
        raise DataError(
            f"street: expected {name}=N with a whole number N from {least}, got {name}={text}"
        )
    if name != "seed" and int(text) >= VAL:
        raise DataError(f"street: at most {VAL - 1} scenes, got {name}={text}")
    return int(text)


def _size(text: str) -> tuple[int, int]:
    height, times, width = text.partition("x")
    if (
        not times
        or not height.isdecimal()
        or not width.isdecimal()
        or min(int(height), int(width)) < SMALLEST
    ):
        raise DataError(
            f"street: expected size=HEIGHTxWIDTH from {SMALLEST}x{SMALLEST}, got size={text}"
        )
    return int(height), int(width)
