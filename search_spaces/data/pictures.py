"""Image and mask files: decoded, checked, and paired by name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from nas.errors import DataError
from search_spaces.data.dataset import Pair, Sample

IMAGES = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")
DEEP = ("I", "I;16", "I;16B", "I;16L", "I;16N", "F")
UNREADABLE = (OSError, ValueError, SyntaxError, EOFError, IndexError, Image.DecompressionBombError)


def read_image(path: Path) -> NDArray[np.uint8]:
    """Return uint8 (H, W, 3), turned as the camera's orientation tag says; raises DataError."""
    with _decoded(path) as image:
        if image.mode in DEEP:
            raise DataError(
                f"{path}: expected an image of 8 bits a channel, got mode {image.mode}; convert it"
            )
        return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def read_mask(path: Path) -> NDArray[np.integer[Any]]:
    """Return the values (H, W) of a mask of one channel (a palette's indices, not its colours); raises DataError."""
    with _decoded(path) as mask:
        if mask.mode not in ("L", "P", "1", *DEEP) or mask.mode == "F":
            channels = len(mask.getbands())
            came = f"{channels} channels (mode {mask.mode})"
            todo = "save class indices in one channel or as a palette image"
            raise DataError(f"{path}: expected a mask with one channel, got {came}; {todo}")
        values = np.asarray(mask)
    return values.astype(np.uint8) if values.dtype == np.bool_ else values


def _decoded(path: Path) -> Image.Image:
    image: Image.Image | None = None
    try:
        image = Image.open(path)
        image.load()
    except UNREADABLE as error:
        if image is not None:
            image.close()
        if isinstance(error, FileNotFoundError):
            raise DataError(f"{path}: no such file") from error
        raise DataError(f"{path}: not a readable image ({error}); replace or remove it") from error
    return image


@dataclass(frozen=True)
class FilePair:
    """Reads a sample of two files; `values` maps each value that a mask may hold to a class (or to IGNORE)."""

    values: Mapping[int, int]

    def __call__(self, sample: Sample) -> Pair:
        if sample.image is None or sample.mask is None:
            raise DataError(f"{sample.name}: expected an image file and a mask file")
        image = read_image(sample.image)
        mask = read_mask(sample.mask)
        if mask.shape != image.shape[:2]:
            (height, width), (high, wide) = mask.shape, image.shape[:2]
            sizes = f"the mask has {width}x{height} pixels, its image {sample.image} {wide}x{high}"
            raise DataError(f"{sample.mask}: {sizes}; save both in one size")
        return image, self._classes(mask, sample.mask)

    def _classes(self, mask: NDArray[np.integer[Any]], path: Path) -> NDArray[np.uint8]:
        """Return the mask with values replaced by classes; raises DataError with the values that are none."""
        low, high = int(mask.min()), int(mask.max())
        classes = (
            self._table[mask] if low >= 0 and high < 256 else np.full(mask.shape, -1, np.int16)
        )
        if classes.min() < 0:
            wrong = sorted(int(v) for v in np.unique(mask) if int(v) not in self.values)
            shown = ", ".join(map(str, wrong[:8])) + (", ..." if len(wrong) > 8 else "")
            raise DataError(
                f"{path}: no class has the value {shown}; expected {ranges(self.values)}"
            )
        return classes.astype(np.uint8)

    @cached_property
    def _table(self) -> NDArray[np.int16]:
        table = np.full(256, -1, np.int16)
        for value, index in self.values.items():
            table[value] = index
        return table


def ranges(numbers: Iterable[int]) -> str:
    """Return "0 to 10, 255" for the numbers 0, 1, ..., 10, 255."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    return ", ".join(str(a) if a == b else f"{a} to {b}" for a, b in runs)


def pairs(images: Path, masks: Path) -> tuple[Sample, ...]:
    """Return the samples of two folders, by equal names without extension, sorted; DataError names what is unpaired."""
    found, labels = by_stem(images, IMAGES), by_stem(masks, (".png",))
    alone = [str(found[s]) for s in sorted(found.keys() - labels.keys())]
    orphans = [str(labels[s]) for s in sorted(labels.keys() - found.keys())]
    if alone or orphans:
        told = listed("images without a mask", alone) + listed("masks without an image", orphans)
        raise DataError(
            f"{images} and {masks} do not pair: {told}. Expected images/NAME.jpg with masks/NAME.png"
        )
    if not found:
        raise DataError(f"{images}: no images; expected files that end in {', '.join(IMAGES)}")
    return tuple(Sample(s, found[s], labels[s]) for s in sorted(found))


def by_stem(folder: Path, endings: tuple[str, ...]) -> dict[str, Path]:
    """Return the files of a folder by name without extension; raises DataError if it is missing or names one twice."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder")
    found: dict[str, Path] = {}
    for file in sorted(folder.iterdir()):
        if file.name.startswith(".") or file.suffix.lower() not in endings:
            continue
        if file.stem in found:
            raise DataError(f"{file} and {found[file.stem]} have the same name; keep one of them")
        found[file.stem] = file
    return found


def listed(title: str, names: list[str], most: int = 10) -> str:
    """Return a line "title: a, b, ..." with at most `most` names, or nothing where there are none."""
    if not names:
        return ""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return f"\n  {title}: " + ", ".join(names[:most]) + more
