"""A data set: its classes, its splits, and how one sample of it is read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from nas.errors import DataError, suggest
from search_spaces.data.colour import MEAN, STD

Pair = tuple[NDArray[np.uint8], NDArray[np.uint8]]
IGNORE = 255
"""The class index of pixels that neither loss nor score looks at, in every mask that leaves this package."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One image and its mask: two files, or (procedural data) a number that both are drawn from."""

    name: str
    image: Path | None = None
    mask: Path | None = None
    number: int = 0

    def __str__(self) -> str:
        return str(self.image) if self.image else self.name


@dataclass(frozen=True)
class DataSet:
    """Classes, palette (K, 3) and splits of a data set; `load` reads a sample, with masks in classes or IGNORE.

    `text` opens the same data again in another process: `open_data(data.text)`.
    """

    name: str
    text: str
    classes: tuple[str, ...]
    palette: NDArray[np.uint8] = field(repr=False, compare=False)
    splits: Mapping[str, tuple[Sample, ...]] = field(repr=False)
    load: Callable[[Sample], Pair] = field(repr=False)
    reporting: str = "val"
    ignore: ClassVar[int] = IGNORE
    mean: ClassVar[tuple[float, float, float]] = MEAN
    std: ClassVar[tuple[float, float, float]] = STD

    def __post_init__(self) -> None:
        if not 1 <= len(self.classes) <= IGNORE:
            raise DataError(f"{self.text}: expected 1 to {IGNORE} classes, got {len(self.classes)}")
        if self.palette.shape != (len(self.classes), 3):
            shape, count = self.palette.shape, len(self.classes)
            raise DataError(f"{self.text}: expected a palette ({count}, 3), got {shape}")
        for name in ("train", self.reporting):
            if not self.splits.get(name):
                raise DataError(f"{self.text}: no images in the split {name!r}")

    def split(self, name: str) -> tuple[Sample, ...]:
        """Return the samples of a split; raises DataError with the closest name."""
        if name not in self.splits:
            raise DataError(f"{self.text} has no split {name!r}; {suggest(name, self.splits)}")
        return self.splits[name]

    def read(self, sample: Sample) -> Pair:
        """Return image uint8 (H, W, 3) and mask uint8 (H, W) of classes or IGNORE; DataError names the file."""
        image, mask = self.load(sample)
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
            raise DataError(
                f"{sample}: expected an image uint8 (H, W, 3), got {image.dtype} {image.shape}"
            )
        if mask.dtype != np.uint8 or mask.shape != image.shape[:2]:
            expected = f"a mask uint8 {image.shape[:2]} for {sample}"
            raise DataError(
                f"{sample.mask or sample}: expected {expected}, got {mask.dtype} {mask.shape}"
            )
        wrong = mask[(mask >= len(self.classes)) & (mask != IGNORE)]
        if wrong.size:
            legal = f"0 to {len(self.classes) - 1} or {IGNORE}"
            raise DataError(
                f"{sample.mask or sample}: class {wrong[0]} in the mask, expected {legal}"
            )
        return image, mask

    def search_split(
        self, seed: int, share: float = 0.2
    ) -> tuple[tuple[Sample, ...], tuple[Sample, ...]]:
        """Return (to train on, to score on) of the training split, sorted by name; the same for the same seed.

        Whole runs of neighbouring names (a fortieth of the images each) go to one side, since frames of one film that
        follow each other are nearly the same picture. Raises DataError where one side would be empty.
        """
        samples = sorted(self.splits["train"], key=lambda s: s.name)
        count = round(len(samples) * share)
        if not 0 < count < len(samples):
            what = f"{len(samples)} training images cannot be split with a share of {share} for scoring"
            raise DataError(f"{self.text}: {what}; bring more images or name a split to score on")
        run = max(1, len(samples) // 40)
        order = np.random.default_rng(seed).permutation(-(-len(samples) // run))
        scored = set(
            [i for r in order for i in range(r * run, min((r + 1) * run, len(samples)))][:count]
        )
        return (
            tuple(s for i, s in enumerate(samples) if i not in scored),
            tuple(s for i, s in enumerate(samples) if i in scored),
        )

    @cached_property
    def size(self) -> tuple[int, int]:
        """The most common (height, width) of the training images; looks at 500 files at most, or at 5 other samples."""
        train = self.splits["train"]
        most = 500 if train[0].image else 5
        return Counter(self._size(s) for s in train[:: -(-len(train) // most)]).most_common(1)[0][0]

    def _size(self, sample: Sample) -> tuple[int, int]:
        """Return the (height, width) of a sample, of a file by its header alone."""
        if sample.image is None:
            height, width = self.load(sample)[1].shape
            return int(height), int(width)
        try:
            with Image.open(sample.image) as image:
                turned = image.getexif().get(0x0112, 1) >= 5
                return (image.width, image.height) if turned else (image.height, image.width)
        except (OSError, ValueError, SyntaxError) as error:
            raise DataError(
                f"{sample.image}: not a readable image ({error}); replace or remove it"
            ) from error


Open = Callable[[str], DataSet]
READERS: dict[str, Open] = {}


def reader(name: str) -> Callable[[Open], Open]:
    """Register a function as what opens "name:REST"; it gets REST, which may be "". A duplicate raises DataError."""

    def register(open_rest: Open) -> Open:
        if name in READERS:
            raise DataError(f"the data set reader {name!r} is registered twice; rename one")
        READERS[name] = open_rest
        return open_rest

    return register


def open_data(text: str) -> DataSet:
    """Return the data set of "camvid:DIR", "cityscapes:DIR", "folder:DIR", "street" or a registered reader's name.

    Raises DataError where there is no such reader or where its files are not as expected.
    """
    name, _, rest = text.partition(":")
    if name not in READERS:
        form = "expected READER or READER:DIR, as in street or camvid:DIR"
        hint = f"for a plain folder write folder:{text}; " if Path(text).is_dir() else ""
        raise DataError(
            f"no data set reader is called {name!r} ({form}); {hint}{suggest(name, READERS)}"
        )
    return READERS[name](rest)
