"""Cityscapes (Cordts et al., 2016) in its 19 classes for training and evaluation."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nas.errors import DataError
from search_spaces.data.dataset import IGNORE, DataSet, Sample, reader
from search_spaces.data.pictures import FilePair, listed

CLASSES: dict[str, tuple[int, tuple[int, int, int]]] = {
    "road": (7, (128, 64, 128)),
    "sidewalk": (8, (244, 35, 232)),
    "building": (11, (70, 70, 70)),
    "wall": (12, (102, 102, 156)),
    "fence": (13, (190, 153, 153)),
    "pole": (17, (153, 153, 153)),
    "traffic light": (19, (250, 170, 30)),
    "traffic sign": (20, (220, 220, 0)),
    "vegetation": (21, (107, 142, 35)),
    "terrain": (22, (152, 251, 152)),
    "sky": (23, (70, 130, 180)),
    "person": (24, (220, 20, 60)),
    "rider": (25, (255, 0, 0)),
    "car": (26, (0, 0, 142)),
    "truck": (27, (0, 0, 70)),
    "bus": (28, (0, 60, 100)),
    "train": (31, (0, 80, 100)),
    "motorcycle": (32, (0, 0, 230)),
    "bicycle": (33, (119, 11, 32)),
}
"""Name, id among the 34 ids (0 to 33; 255 is a licence plate), colour, in the order of the 19 classes."""

IDS = {
    **dict.fromkeys((*range(34), IGNORE), IGNORE),
    **{number: index for index, (number, _) in enumerate(CLASSES.values())},
}
TRAIN_IDS = {**{i: i for i in range(len(CLASSES))}, IGNORE: IGNORE}
IMAGE, IDS_NAME, TRAIN_IDS_NAME = (
    "_leftImg8bit.png",
    "_gtFine_labelIds.png",
    "_gtFine_labelTrainIds.png",
)


@reader("cityscapes")
def open_cityscapes(rest: str) -> DataSet:
    """Return the data of a folder with leftImg8bit/SPLIT/CITY and gtFine/SPLIT/CITY.

    Masks are `labelTrainIds` files if all images have one, `labelIds` files otherwise. The published `test` masks are
    empty: a split "test" is there if its files are, and nothing can be learned from scoring on it.
    """
    root = Path(rest).expanduser().resolve()
    if not rest or not (root / "leftImg8bit" / "train").is_dir():
        layout = "expected leftImg8bit/train/CITY/*_leftImg8bit.png and gtFine/train/CITY in it"
        raise DataError(f"cityscapes:{rest}: {layout}; write cityscapes:DIR")
    present = [s for s in ("train", "val", "test") if (root / "leftImg8bit" / s).is_dir()]
    images = {s: sorted((root / "leftImg8bit" / s).glob(f"*/*{IMAGE}")) for s in present}
    ready = all(
        _mask(i, root, TRAIN_IDS_NAME).is_file() for files in images.values() for i in files
    )
    ending, values = (TRAIN_IDS_NAME, TRAIN_IDS) if ready else (IDS_NAME, IDS)
    splits = {split: _samples(root, files, ending) for split, files in images.items()}
    palette = np.array([colour for _, colour in CLASSES.values()], np.uint8)
    return DataSet(
        "cityscapes", f"cityscapes:{root}", tuple(CLASSES), palette, splits, FilePair(values)
    )


def _mask(image: Path, root: Path, ending: str) -> Path:
    split, city = image.parts[-3:-1]
    return root / "gtFine" / split / city / (image.name.removesuffix(IMAGE) + ending)


def _samples(root: Path, images: list[Path], ending: str) -> tuple[Sample, ...]:
    found = tuple(Sample(i.name.removesuffix(IMAGE), i, _mask(i, root, ending)) for i in images)
    missing = [str(s.mask) for s in found if s.mask is not None and not s.mask.is_file()]
    if missing:
        raise DataError(f"cityscapes:{root}: images without a mask{listed('expected', missing)}")
    return found
