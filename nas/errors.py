"""Every error that this toolkit raises on purpose: what was expected, what came, where, what to do."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from difflib import get_close_matches


class NasError(Exception):
    """Root of all errors that are meant for the person at the keyboard."""


class SpaceError(NasError):
    """A space or architecture file says something that the language or a kind does not allow."""


class PlanError(NasError):
    """An architecture does not fit together: shapes, strides or divisibility, found while planning.

    `path` is what does not fit in the architecture's tree, "" where that is not known.
    """

    path: str = ""


class DataError(NasError):
    """A data set is broken; the message names the file."""


class LimitError(NasError):
    """Objectives, limits or budget contradict each other or the space."""


class RunError(NasError):
    """A run folder is missing, locked, taken, or belongs to another search."""


class StorageError(NasError):
    """The database of a study, or the disk that a run lies on, does not take what is to be kept."""


class RecipeError(NasError):
    """A training recipe holds a field or a value that training does not know."""


class TrainingError(NasError):
    """Training cannot go on (NaN, a batch that does not fit): an outcome of the trial."""


class ExportError(NasError):
    """An exported file does not do what the network does."""


class LatencyError(NasError):
    """A target cannot be measured here, or a latency table was made under other conditions."""


@dataclass(frozen=True, slots=True)
class Where:
    """A place in a file; lines and columns count from 1."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


def suggest(name: object, known: Iterable[object]) -> str:
    """Return "; did you mean 'x'? known: a, b, x" for a message about an unknown name."""
    names = [str(k) for k in known]
    close = get_close_matches(str(name), names, n=1, cutoff=0.5)
    hint = f"did you mean {close[0]!r}? " if close else ""
    return f"{hint}known: {', '.join(names) or 'none'}"
