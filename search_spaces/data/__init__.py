"""Data sets: opened by name, prepared once, and handed out in batches."""

from search_spaces.data import camvid, cityscapes, folder, street
from search_spaces.data.cache import Prepared, prepare
from search_spaces.data.colour import MEAN, STD, normalise
from search_spaces.data.dataset import IGNORE, DataSet, Sample, open_data, reader
from search_spaces.data.fit import fit_image, fit_mask, fitted_size
from search_spaces.data.loader import batches, validation
from search_spaces.data.summary import describe

__all__ = [
    "IGNORE",
    "MEAN",
    "STD",
    "DataSet",
    "Prepared",
    "Sample",
    "batches",
    "camvid",
    "cityscapes",
    "describe",
    "fit_image",
    "fit_mask",
    "fitted_size",
    "folder",
    "normalise",
    "open_data",
    "prepare",
    "reader",
    "street",
    "validation",
]
