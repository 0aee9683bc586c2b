"""Data sets: opened by name, prepared once, and handed out in batches."""

from search_spaces.data import camvid as camvid
from search_spaces.data import street as street
from search_spaces.data.cache import Prepared, prepare
from search_spaces.data.colour import MEAN, STD, normalise
from search_spaces.data.dataset import IGNORE, DataSet, Sample, open_data, reader
from search_spaces.data.loader import batches, validation

__all__ = [
    "IGNORE",
    "MEAN",
    "STD",
    "DataSet",
    "Prepared",
    "Sample",
    "batches",
    "normalise",
    "open_data",
    "prepare",
    "reader",
    "validation",
]
