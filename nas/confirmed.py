"""What is known of a front's networks beyond one training each, and which of them cannot be told apart."""

from __future__ import annotations

import json
import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.atomic import write_atomic
from nas.errors import RunError
from nas.run import Run

SCHEMA = 1
RULE = "two networks cannot be told apart while mean ± one pooled standard deviation of their scores overlap"


@dataclass(frozen=True, slots=True)
class Confirmed:
    """Scores (mIoU) of one architecture with several seeds; `alike` are ids that it cannot be told from."""

    scores: tuple[float, ...]
    spread: float
    alike: tuple[str, ...]


def read_confirmed(run: Run) -> dict[str, Confirmed]:
    """Return what `confirm` has found so far, by architecture id."""
    scores = {i: [s["miou"] for s in found] for i, found in read_scores(run).items()}
    spread = pooled_deviation(list(scores.values()))
    return {
        i: Confirmed(
            tuple(values),
            spread,
            tuple(o for o in scores if o != i and is_alike(values, scores[o], spread)),
        )
        for i, values in scores.items()
        if len(values) > 1
    }


def is_alike(a: Sequence[float], b: Sequence[float], spread: float) -> bool:
    """Return whether mean ± `spread` of the two overlap: with three seeds each, about a t test's equal at 5 %."""
    return abs(statistics.fmean(a) - statistics.fmean(b)) <= 2 * spread


def pooled_deviation(groups: Sequence[Sequence[float]]) -> float:
    """Return the standard deviation within groups, over all of them; 0 where no group has two values."""
    free = sum(len(g) - 1 for g in groups if len(g) > 1)
    if not free:
        return 0.0
    return math.sqrt(
        sum(statistics.variance(g) * (len(g) - 1) for g in groups if len(g) > 1) / free
    )


def read_scores(run: Run) -> dict[str, list[dict[str, Any]]]:
    """Return {architecture id: [{"seed", "miou"}, ...]}, the search's own score first."""
    path = run.folder / "confirm.json"
    if not path.is_file():
        return {}
    content: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    if content.get("schema") != SCHEMA:
        raise RunError(f"{path} has schema {content.get('schema')!r}, this version reads {SCHEMA}")
    return dict(content["scores"])


def write_scores(run: Run, scores: Mapping[str, Any]) -> None:
    """Replace what `read_scores` reads, whole or not at all."""
    content = {"schema": SCHEMA, "rule": RULE, "scores": scores}
    write_atomic(run.folder / "confirm.json", (json.dumps(content, indent=2) + "\n").encode())
