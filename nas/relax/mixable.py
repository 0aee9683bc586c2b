"""The relaxed plan of a space, or all that stands in its way at once."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from nas.errors import PlanError, SpaceError
from nas.fix import fixed
from nas.language.questions import questions as all_questions
from nas.parts import Plan
from nas.relax.gates import Question, questions
from nas.relax.network import closed_name
from nas.relax.planner import RelaxedPlanner, opened
from nas.relax.ways import UnmixableError
from nas.space import Space

SHOWN = 12
"""Choices that an error writes out."""


@dataclass(frozen=True, slots=True)
class Relaxed:
    """A space, its relaxed plan and its questions by path."""

    space: Space
    plan: Plan
    asked: dict[str, Question]


def relax(space: Space, size: tuple[int, int]) -> Relaxed:
    """Return the relaxed plan of a space for images of `size` (H, W).

    Raises PlanError naming every choice that cannot be mixed, with the options that close it, ready to be copied.
    """
    try:
        return _relax(space, size)
    except PlanError as error:
        if _blame(error) is None:
            raise PlanError(closed_name(str(error))) from None
    raise PlanError(_report(space, list(_unmixable(space, size))))


def _relax(space: Space, size: tuple[int, int]) -> Relaxed:
    tree = opened(space)
    asked = {question.path: question for question in questions(tree)}
    return Relaxed(space, RelaxedPlanner(size).plan(tree), asked)


def _blame(error: PlanError) -> UnmixableError | None:
    """Return what cannot be mixed, where that is what an error is about."""
    found: BaseException | None = error
    while found is not None and not isinstance(found, UnmixableError):
        found = found.__cause__
    return found


def _unmixable(space: Space, size: tuple[int, int]) -> Iterator[tuple[str, str]]:
    """Yield (path, why) of one choice after another, each closed in its turn to its last option."""
    while True:
        try:
            _relax(space, size)
        except PlanError as error:
            blame = _blame(error)
            if blame is None:
                return
            asked = {q.path: len(q.labels) for q in all_questions(space)}
            path = max(blame.paths, key=lambda p: asked.get(p, 0))
            yield path, closed_name(blame.why)
            try:
                space = fixed(space, {path: "last"})
            except SpaceError:
                return
        else:
            return


def _report(space: Space, found: Sequence[tuple[str, str]]) -> str:
    labels: dict[str, Sequence[Any]] = {q.path: q.labels for q in all_questions(space)}
    lines = [
        f"{path} ({', '.join(map(str, labels.get(path, ())))}): {why}"
        for path, why in found[:SHOWN]
    ]
    if len(found) > SHOWN:
        lines.append(f"and {len(found) - SHOWN} more")
    options = " ".join(f"--fix {path}=last" for path, _ in found[:SHOWN])
    return (
        f"{len(found)} choices cannot be mixed; close them to one value each, or search with --strategy tpe:\n  "
        + "\n  ".join(lines)
        + f"\ne.g. {options}\n('*' in a path stands for anything: --fix '*.width=last')"
    )
