"""CamVid (Brostow, Fauqueur and Cipolla, 2009) in the 11 classes of the SegNet tutorial."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nas.errors import DataError
from search_spaces.data.dataset import IGNORE, DataSet, reader
from search_spaces.data.pictures import FilePair, pairs

VOID = 11
CLASSES = {
    "sky": (128, 128, 128),
    "building": (128, 0, 0),
    "pole": (192, 192, 128),
    "road": (128, 64, 128),
    "pavement": (60, 40, 222),
    "tree": (128, 128, 0),
    "sign": (192, 128, 128),
    "fence": (64, 64, 128),
    "car": (64, 0, 128),
    "pedestrian": (64, 64, 0),
    "bicyclist": (0, 128, 192),
}


@reader("camvid")
def open_camvid(rest: str) -> DataSet:
    """Return the data of a folder with train/, val/ and perhaps test/, each images/NAME.jpg and masks/NAME.png."""
    root = Path(rest).expanduser().resolve()
    layout = "expected train/images, train/masks, val/images and val/masks in it"
    if not rest or not (root / "train").is_dir() or not (root / "val").is_dir():
        raise DataError(f"camvid:{rest}: {layout}; write camvid:DIR")
    splits = {
        name: pairs(root / name / "images", root / name / "masks")
        for name in ("train", "val", "test")
        if (root / name).is_dir()
    }
    values = {**{i: i for i in range(len(CLASSES))}, VOID: IGNORE, IGNORE: IGNORE}
    palette = np.array(list(CLASSES.values()), np.uint8)
    return DataSet("camvid", f"camvid:{root}", tuple(CLASSES), palette, splits, FilePair(values))
