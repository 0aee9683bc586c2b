"""A plain folder of images and masks with a list of class names: the form to bring one's own data in."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import yaml
from numpy.typing import NDArray

from nas.errors import DataError, suggest
from search_spaces.data.colour import distinct_colours
from search_spaces.data.dataset import IGNORE, DataSet, Sample, reader
from search_spaces.data.pictures import FilePair, listed, pairs

SPLITS = ("train", "val", "test")
KNOWN = ("names", "colours", "ignore")


@dataclass(frozen=True, slots=True)
class ClassList:
    """Names, colours (K, 3) and the mask value that stands for no class."""

    names: tuple[str, ...]
    colours: NDArray[np.uint8]
    ignore: int = IGNORE


@reader("folder")
def open_folder(rest: str) -> DataSet:
    """Return the data of a folder with images/, masks/ and classes.txt or classes.yaml.

    Masks are PNG files of one channel (or a palette) with the name of their image; a pixel's value is the position of
    its class in the list, from 0, or the ignore value (255). Splits are subfolders (images/train or train/images), or
    lists of names (train.txt, val.txt); without either a fifth of the images, drawn by their names, is for reporting.
    """
    root = Path(rest).expanduser().resolve()
    if not rest or not root.is_dir():
        layout = "expected a folder with images/, masks/ and classes.txt"
        raise DataError(f"folder:{rest}: no such folder; {layout}; write folder:DIR")
    classes = read_classes(root)
    values = {**{i: i for i in range(len(classes.names))}, classes.ignore: IGNORE}
    splits = _splits(root)
    return DataSet(
        "folder", f"folder:{root}", classes.names, classes.colours, splits, FilePair(values)
    )


def read_classes(root: Path) -> ClassList:
    """Return the list of classes.yaml or classes.txt; raises DataError where neither is there or one is wrong."""
    if (root / "classes.yaml").is_file():
        return _from_yaml(root / "classes.yaml")
    file = root / "classes.txt"
    if not file.is_file():
        form = "one class name per line, in the order of the values in the masks, from 0"
        raise DataError(
            f"{file}: no list of classes; write this file: {form} (or classes.yaml with names: [...])"
        )
    names = tuple(line.strip() for line in _text(file).splitlines() if line.strip())
    return _checked(file, names, None, IGNORE)


def _from_yaml(file: Path) -> ClassList:
    try:
        content = yaml.safe_load(_text(file))
    except yaml.YAMLError as error:
        raise DataError(f"{file}: not YAML: {error}") from error
    if not isinstance(content, Mapping) or not isinstance(content.get("names"), list):
        form = "names: [road, car], perhaps colours: [[128, 64, 128], [0, 0, 142]] and ignore: 255"
        raise DataError(f"{file}: expected {form}")
    for key in content:
        if key not in KNOWN:
            raise DataError(f"{file}: no field is called {key!r}; {suggest(key, KNOWN)}")
    names = tuple(str(name) for name in content["names"])
    return _checked(file, names, content.get("colours"), content.get("ignore", IGNORE))


def _checked(file: Path, names: tuple[str, ...], colours: Any, ignore: Any) -> ClassList:
    twice = sorted({n for n in names if names.count(n) > 1})
    if not names or twice:
        what = f"the class {twice[0]!r} stands there twice" if twice else "no class names in it"
        raise DataError(f"{file}: {what}")
    if not isinstance(ignore, int) or not len(names) <= ignore <= IGNORE:
        legal = f"a whole number from {len(names)} to {IGNORE}, beyond the classes"
        raise DataError(f"{file}: expected ignore: N, {legal}; got {ignore!r}")
    if colours is None:
        return ClassList(names, distinct_colours(len(names)), ignore)
    try:
        table = np.array(colours, np.int64)
    except (ValueError, TypeError, OverflowError):
        table = np.empty(0, np.int64)
    if table.shape != (len(names), 3) or table.min() < 0 or table.max() > IGNORE:
        raise DataError(
            f"{file}: expected {len(names)} colours [red, green, blue] from 0 to 255, got {colours!r}"
        )
    return ClassList(names, table.astype(np.uint8), ignore)


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read as text ({error})") from error


def _splits(root: Path) -> dict[str, tuple[Sample, ...]]:
    """Return the splits as the folder's layout has them."""
    if (root / "train" / "images").is_dir():
        return {
            s: pairs(root / s / "images", root / s / "masks") for s in SPLITS if (root / s).is_dir()
        }
    images, masks = root / "images", root / "masks"
    if (images / "train").is_dir():
        return {s: pairs(images / s, masks / s) for s in SPLITS if (images / s).is_dir()}
    samples = pairs(images, masks)
    lists = {s: root / f"{s}.txt" for s in SPLITS if (root / f"{s}.txt").is_file()}
    if lists:
        return {name: _listed(file, samples) for name, file in lists.items()}
    return _drawn(root, samples)


def _listed(file: Path, samples: tuple[Sample, ...]) -> tuple[Sample, ...]:
    """Return the samples that a file names, one per line, with or without folder and extension."""
    known = {s.name: s for s in samples}
    lines = [line.strip() for line in _text(file).splitlines() if line.strip()]
    stems = [line if line in known else Path(line).stem for line in lines]
    missing = [line for line, stem in zip(lines, stems, strict=True) if stem not in known]
    if missing:
        raise DataError(f"{file} names images that are not there{listed('missing', missing)}")
    return tuple(known[s] for s in sorted(set(stems)))


def _drawn(root: Path, samples: tuple[Sample, ...]) -> dict[str, tuple[Sample, ...]]:
    """Return four fifths for training and a fifth for reporting, by a digest of the names: the same on any machine."""
    count = round(len(samples) / 5) or 1
    if count >= len(samples):
        raise DataError(
            f"folder:{root}: one image cannot be split into training and reporting; bring more"
        )
    ranked = sorted(samples, key=lambda s: hashlib.sha256(s.name.encode()).digest())
    val = frozenset(s.name for s in ranked[:count])
    return {
        "train": tuple(s for s in samples if s.name not in val),
        "val": tuple(s for s in samples if s.name in val),
    }
