"""What comes of a tuning: the best recipe, and how it compares with the one that was given."""

from __future__ import annotations

import math
import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nas.confirmed import is_alike, pooled_deviation
from nas.problem import show_seconds
from nas.recipe import Recipe
from nas.tuning.asked import Asked
from nas.tuning.ledger import DEFAULT, Ledger, Training
from nas.tuning.vary import DIGITS, Span, Values, Vary, apply, show

SPREAD = "scores of one recipe with several seeds spread by points"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compared:
    """The default recipe and the best one: mIoU of one training each, and of those with further seeds.

    `number` is the training that found the best recipe, the default's own where none was better; `schedule_miou` is
    what a population's schedule reached, of which the recipe is the mean.
    """

    number: int
    recipe: Recipe
    default_recipe: Recipe
    miou: float
    default_miou: float
    schedule_miou: float | None = None
    scores: tuple[float, ...] = ()
    default_scores: tuple[float, ...] = ()

    @property
    def is_better(self) -> bool:
        """Whether any recipe scored higher than the default."""
        return self.number != DEFAULT and self.miou > self.default_miou

    @property
    def changed(self) -> dict[str, tuple[Any, Any]]:
        """Fields in which the two recipes differ: (default, best)."""
        before, after = self.default_recipe.to_dict(), self.recipe.to_dict()
        return {n: (before[n], after[n]) for n in before if before[n] != after[n]}

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return {
            "training": self.number,
            "miou": self.miou,
            "default_miou": self.default_miou,
            "difference": round(self.miou - self.default_miou, 6),
            "is_better": self.is_better,
            "changed": {name: list(pair) for name, pair in self.changed.items()},
            "schedule_miou": self.schedule_miou,
            "confirmed": {"best": list(self.scores), "default": list(self.default_scores)},
            "recipe": self.recipe.to_dict(),
            "default_recipe": self.default_recipe.to_dict(),
        }


def found_best(asked: Asked, ledger: Ledger, trainings: Sequence[Training]) -> int:
    """Return the training with the highest score of those that came to their end; the default's in a draw."""
    ended = [t.number for t in trainings if ledger.track(t.number).epoch >= asked.epochs]
    return max(ended, key=lambda n: (ledger.track(n).miou, -n), default=DEFAULT)


def best_values(asked: Asked, ledger: Ledger, training: Training) -> Values:
    """Return the values of a training; of one whose values changed on the way, their mean over its epochs."""
    rows = ledger.track(training.number).rows
    path: list[dict[str, Any]] = rows[-1]["path"] if rows else []
    if len(path) < 2:
        return training.values
    ends = [*(part["epoch"] for part in path[1:]), asked.epochs + 1]
    lengths = [end - part["epoch"] for end, part in zip(ends, path, strict=True)]
    return mean_values(asked.vary, [part["values"] for part in path], lengths)


def mean_values(vary: Vary, values: Sequence[Values], lengths: Sequence[int]) -> Values:
    """Return the mean of ranges, by their logarithm where they are drawn so; of lists the value used longest."""
    return {
        name: _mean(part, [v[name] for v in values], lengths)
        if isinstance(part, Span)
        else _longest([v[name] for v in values], lengths)
        for name, part in vary.items()
    }


def compare(
    asked: Asked, ledger: Ledger, trainings: Sequence[Training], again: Sequence[Training]
) -> Compared:
    """Return how the best of `trainings` compares, with what trainings from scratch (`again`) have added."""
    number = found_best(asked, ledger, trainings)
    values = best_values(asked, ledger, trainings[number])
    whole = [t for t in again if ledger.track(t.number).state == "complete"]
    scores: Mapping[str, list[float]] = {
        why: [ledger.track(t.number).miou or 0.0 for t in whole if t.why == why]
        for why in ("scratch", "confirm best", "confirm default")
    }
    miou, scratch = ledger.track(number).miou or 0.0, scores["scratch"]
    return Compared(
        number=number,
        recipe=asked.recipe if number == DEFAULT else apply(asked.recipe, values),
        default_recipe=asked.recipe,
        miou=scratch[0] if scratch else miou,
        default_miou=ledger.track(DEFAULT).miou or 0.0,
        schedule_miou=miou if scratch else None,
        scores=tuple(scores["confirm best"]),
        default_scores=tuple(scores["confirm default"]),
    )


def sentences(found: Compared, ledger: Ledger, trainings: Sequence[Training]) -> list[str]:
    """Return what a person reads: the comparison, what differs, what it took, and how far to believe it."""
    tracks = {t.number: ledger.track(t.number) for t in trainings}
    took = show_seconds(sum(t.seconds for t in tracks.values()))
    counts = f"{len(tracks)} trainings, {took} of training in all"
    counts += f" (the default recipe {show_seconds(tracks[DEFAULT].seconds)})"
    difference = f"{100 * (found.miou - found.default_miou):+.2f} points"
    lines = [f"default recipe: mIoU {found.default_miou:.4f}"]
    if found.schedule_miou is not None:
        lines.append(
            f"training {found.number} of the population, values changing: mIoU {found.schedule_miou:.4f}"
        )
    if found.number == DEFAULT:
        return [*lines, f"no recipe was better than the default one; {counts}"]
    who = "its mean values, trained from scratch" if found.schedule_miou else "best recipe"
    lines.append(f"{who} (training {found.number}): mIoU {found.miou:.4f}, {difference}")
    if not found.is_better:
        lines.append("this is not better than the default recipe")
    changes = (f"{n} {show(b)} -> {show(a)}" for n, (b, a) in found.changed.items())
    return [*lines, f"what differs: {'; '.join(changes)}", counts, *_believed(found)]


def _believed(found: Compared) -> list[str]:
    """Return how far a difference can be believed."""
    groups = [found.default_scores, found.scores]
    if not all(groups):
        return [f"one seed each: {SPREAD}, and the best of many is partly luck; see --confirm 3"]
    told = [
        f"{name} with {len(s)} further seeds: mIoU {statistics.fmean(s):.4f}"
        + (f" +- {statistics.stdev(s):.4f}" if len(s) > 1 else "")
        for name, s in zip(("default recipe", "best recipe"), groups, strict=True)
    ]
    if min(map(len, groups)) < 2:
        return [*told, f"one further seed says little: {SPREAD}"]
    alike = is_alike(found.default_scores, found.scores, pooled_deviation(groups))
    better = statistics.fmean(found.scores) > statistics.fmean(found.default_scores)
    verdict = "better" if better else "worse"
    what = "the two cannot be told apart" if alike else f"the best recipe is {verdict}"
    return [*told, f"{what} by these seeds"]


def _mean(span: Span, values: Sequence[float], lengths: Sequence[int]) -> float:
    plain = [math.log(v) for v in values] if span.by_magnitude else values
    mean = sum(v * n for v, n in zip(plain, lengths, strict=True)) / sum(lengths)
    return float(f"{math.exp(mean) if span.by_magnitude else mean:.{DIGITS}g}")


def _longest(values: Sequence[Any], lengths: Sequence[int]) -> Any:
    total = [sum(n for v, n in zip(values, lengths, strict=True) if v == value) for value in values]
    return values[total.index(max(total))]
