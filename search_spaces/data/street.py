"""Procedural street scenes: a data set of any size that needs no files, the same for the same seed."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator

from nas.errors import DataError, suggest
from search_spaces.data.camvid import CLASSES
from search_spaces.data.canvas import Camera, Canvas, Floats
from search_spaces.data.dataset import DataSet, Pair, Sample, reader
from search_spaces.data.figures import paint_figures
from search_spaces.data.scenery import SKY, draw_street, paint_fronts, paint_ground, paint_sky

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


def draw_scene(rng: Generator, size: tuple[int, int]) -> Pair:
    """Return image uint8 (H, W, 3) and mask uint8 (H, W) of one scene; a few milliseconds at 64 x 128."""
    height, width = size
    focal = rng.uniform(0.75, 1.0) * max(width, 1.2 * height)
    horizon, vanishing = rng.uniform(0.4, 0.52) * height, rng.uniform(0.35, 0.65) * width
    camera = Camera(height, width, horizon, vanishing, focal, rng.uniform(1.2, 1.8))
    canvas = Canvas.blank(height, width, SKY)
    street = draw_street(rng)
    paint_sky(canvas, rng, camera)
    paint_ground(canvas, rng, camera, street)
    for side in (-1, 1):
        paint_fronts(canvas, rng, camera, street, side)
    paint_figures(canvas, rng, camera, street)
    return _exposed(canvas, rng), canvas.classes


def _exposed(
    canvas: Canvas, rng: Generator
) -> np.ndarray[tuple[int, int, int], np.dtype[np.uint8]]:
    """Return the canvas as a camera would: haze with depth, light and its colour, a soft lens, and noise."""
    clear = np.exp(-canvas.depths / rng.uniform(60, 400))[:, :, None]
    clear[np.isinf(canvas.depths)] = 1
    haze = rng.uniform(170, 225)
    light = rng.uniform(0.55, 1.15) * rng.uniform(0.93, 1.07, 3).astype(np.float32)
    seen = (haze + (canvas.colours - haze) * clear) * light.astype(np.float32)
    seen = _soft(seen, rng.uniform(0.0, 0.25))
    seen += rng.standard_normal(seen.shape, np.float32) * rng.uniform(2, 9)
    return np.clip(seen, 0, 255).astype(np.uint8)


def _soft(image: Floats, share: float) -> Floats:
    """Return the image with `share` of each pixel's light spread to either side, along both axes."""
    for axis in (0, 1):
        rolled = np.roll(image, 1, axis) + np.roll(image, -1, axis)
        edge = np.s_[[0, -1]] if axis == 0 else np.s_[:, [0, -1]]
        rolled[edge] = 2 * image[edge]
        image = image * np.float32(1 - share) + rolled * np.float32(share / 2)
    return image


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
