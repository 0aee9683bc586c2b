"""Scores read from a table: a whole search in milliseconds a trial, to try samplers, executors and clusters on.

A table is an `.npz` file with `decisions` (rows, choices), the index of the option taken, and `accuracy` in percent
(rows,): every combination once. Its space has one block for each choice, so that architectures are closed, counted and
told apart as in any search; their costs are their own, not those of the table.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import numpy as np
from numpy.typing import NDArray

from nas.architecture import Architecture
from nas.choosers import cover
from nas.errors import DataError
from nas.evaluators import evaluator
from nas.job import Job
from nas.language.decide import decide
from nas.language.notation import to_yaml
from nas.language.tree import Template
from nas.resolve import closed
from nas.space import Space, load_space, parse

PREFIX = "table:"
SECONDS = ",seconds="
SIZED = ("task", "input")
WIDTH = 8
LOOK = 0.05
"""Seconds between two questions whether to stop."""


@dataclass(frozen=True)
class Table:
    """`scores[decisions]` is an accuracy from 0 to 1; `path` is the file that it was read from."""

    path: Path
    scores: NDArray[np.float64]

    @cached_property
    def space(self) -> Space:
        """The space that the table scores: option i of any choice is a separable convolution of kernel 3 + 2i.

        No field that has its default is written: decisions are read back without a kind being imported.
        """
        cells = [
            {"choice": [{"separable": {"kernel": 3 + 2 * i} if i else {}} for i in range(options)]}
            for options in self.scores.shape
        ]
        stage = {"width": WIDTH, "blocks": cells}
        tree = {
            "task": {"semantic": {"classes": 2}},
            "input": [3, 32, 32],
            "encoder": {"stages": {"stem": WIDTH, "stages": [stage]}},
            "decoders": {"semantic": {"head": {"fcn": {"width": WIDTH}}}},
        }
        return parse(to_yaml(tree), self.path.stem)

    def score(self, architecture: Architecture) -> float:
        """Return what the table has for an architecture of its space, whatever its classes and input size.

        Raises SpaceError where it lies outside.
        """
        tree = architecture.tree
        sized = {name: tree[name] for name in SIZED if name in tree}
        rest = {name: part for name, part in self.space.tree.items() if name not in SIZED}
        taken = decide(Template({**rest, **sized}), architecture)
        paths = (f"encoder.stages.stages[0].blocks[{i}]" for i in range(self.scores.ndim))
        return float(self.scores[tuple(taken.get(path, 0) for path in paths)])

    def check(self, space: Space) -> None:
        """Raise SpaceError where an option of a space lies outside the table's."""
        for taken in cover(space):
            self.score(closed(space, partial(_first_unless, taken)))


def _first_unless(taken: Mapping[str, int], path: str, _: Sequence[Any]) -> int:
    return taken.get(path, 0)


@evaluator("table")
class Lookup:
    """Scores by the table that the job's evaluator names, after as many seconds as it says; reads it once."""

    def __init__(self) -> None:
        self._known: tuple[str, Table] | None = None

    def evaluate(
        self, architecture: Architecture, job: Job, stop: Callable[[], bool]
    ) -> Iterator[Mapping[str, Any]]:
        """Yield {"miou"}: the accuracy, from 0 to 1."""
        file, seconds = split_name(job.evaluator)
        if self._known is None or self._known[0] != file:
            self._known = file, read_table(file)
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0 and not stop():
            time.sleep(min(left, LOOK))
        if not stop():
            yield {"miou": self._known[1].score(architecture)}


def read_table(path: str | Path) -> Table:
    """Return the table in a file; raises DataError where it is not one, or does not list every combination once."""
    file = Path(path)
    try:
        with np.load(file, allow_pickle=False) as columns:
            decisions, accuracy = columns["decisions"], columns["accuracy"]
    except (OSError, EOFError, ValueError, LookupError, BadZipFile, TypeError) as error:
        raise DataError(
            f"{file} is no table ({error}); expected an .npz file with `decisions` (rows, choices) and `accuracy`"
        ) from None
    if decisions.ndim != 2 or accuracy.shape != decisions.shape[:1] or not decisions.size:
        raise DataError(
            f"{file}: expected decisions (rows, choices) and accuracy (rows,), got {decisions.shape} and"
            f" {accuracy.shape}"
        )
    shape = tuple(int(most) + 1 for most in decisions.max(axis=0))
    if not _is_whole(decisions, shape):
        raise DataError(
            f"{file}: {len(decisions)} rows for {'x'.join(map(str, shape))} options; expected each of the"
            f" {math.prod(shape)} combinations once"
        )
    scores = np.empty(shape)
    scores[tuple(decisions.T)] = accuracy / 100
    return Table(file, scores)


def _is_whole(decisions: NDArray[Any], shape: tuple[int, ...]) -> bool:
    """Return whether every combination of options is there once."""
    if (
        len(decisions) != math.prod(shape)
        or decisions.dtype.kind not in "iu"
        or decisions.min() < 0
    ):
        return False
    return len(np.unique(np.ravel_multi_index(tuple(decisions.T), shape))) == len(decisions)


def is_table(name: Any) -> bool:
    """Return whether a space or evaluator is given as "table:FILE", with or without ",seconds=S"."""
    return isinstance(name, str) and name.startswith(PREFIX)


def split_name(name: str) -> tuple[str, float]:
    """Return the absolute path of the file that "table:FILE,seconds=S" names, and the seconds of a trial.

    Raises DataError where these are no number.
    """
    path, mark, seconds = name.removeprefix(PREFIX).rpartition(SECONDS)
    if not mark:
        path, seconds = seconds, "0"
    try:
        return str(Path(path).resolve()), float(seconds)
    except ValueError:
        raise DataError(f"{name}: expected a number of seconds, got {seconds!r}") from None


def asked_of(space: Any, evaluator: str | None, *, new: bool) -> tuple[Any, str | None]:
    """Return the space and the evaluator of a search where "table:FILE" was given as either, with the path absolute.

    A new search without a space has the table's. Raises DataError where the file is no table, SpaceError where a space
    has options that the table does not.
    """
    if is_table(space):
        evaluator = evaluator or space
        space = read_table(split_name(space)[0]).space
    if evaluator is None or not is_table(evaluator):
        return space, evaluator
    file, seconds = split_name(evaluator)
    table = read_table(file)
    if space is not None:
        space = load_space(space) if isinstance(space, str | Path) else space
        table.check(space)
    elif new:
        space = table.space
    return space, f"{PREFIX}{file}" + (f"{SECONDS}{seconds:g}" if seconds else "")
