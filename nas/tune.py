"""Tunes the recipe by which a chosen architecture is retrained, with Ray Tune, on the training split alone."""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from nas.architecture import Architecture
from nas.atomic import write_atomic
from nas.candidates import derive_seed
from nas.errors import RunError, TrainingError
from nas.network import input_size
from nas.pool import Pool
from nas.recipe import Recipe
from nas.registry import domain, use_file
from nas.run import machine, versions
from nas.tuning.asked import SETTINGS, Asked, begin, interval
from nas.tuning.compare import Compared, best_values, compare, found_best, sentences
from nas.tuning.ledger import DEFAULT, LOG, Ledger, Training
from nas.tuning.place import Place, connected, make_place
from nas.tuning.vary import read_vary

if TYPE_CHECKING:
    from nas.tuning.shown import Shown
    from nas.tuning.work import Order

RECIPE, TABLE, RESULT = "recipe.yaml", "trainings.json", "result.json"
SEARCH, AGAIN = "search", "again"
"""The two stages: trainings that are compared with each other, and trainings from scratch of the best."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A tuning in its folder; `ended` "interrupted" can be resumed, "budget" left trainings out.

    `lines` say in words what `compared` holds; both are empty after an interruption.
    """

    folder: Path
    ended: Literal["complete", "budget", "interrupted"]
    compared: Compared | None = None
    lines: tuple[str, ...] = ()

    @property
    def recipe_file(self) -> Path:
        """The best recipe, for `nas retrain --recipe`."""
        return self.folder / RECIPE


def tune(
    architecture: Architecture,
    data: Any,
    *,
    folder: Path | str,
    recipe: Recipe | None = None,
    size: tuple[int, int] | None = None,
    vary: Iterable[str] = (),
    scheduler: str = "asha",
    samples: int = 12,
    budget_seconds: float | None = None,
    seed: int = 0,
    confirm: int = 0,
    split: str | None = None,
    split_seed: int = 0,
    pool: Pool | None = None,
    plugins: Iterable[str | Path] = (),
    cache: Path | str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = True,
) -> Tuned:
    """Train by `recipe` and by `samples` others near it, write the best as `recipe.yaml`, and say how it compares.

    `data` is a data set or its text. Trainings are scored on `split`, by default the part of the training split that a
    search with `split_seed` holds back; the reporting split is not opened. `vary` says what differs ("lr=1e-4..1e-2",
    "crop=96x128,128x192", see `nas.tuning.vary`), `scheduler` which trainings end early (asha) or go on with another's
    weights (pbt). The given recipe always trains to its end, also over the budget. `confirm` trains it and the best
    from scratch with so many further seeds, whatever the budget. `pool` says how many trainings run at once, what each
    one takes, and where; without an address a Ray is started on this machine.

    With Ctrl-C it ends as "interrupted"; `resume` goes on from there, or from a kill. Raises RunError where the folder
    holds a tuning and neither `resume` nor `overwrite` is set, or holds another one; RecipeError for what cannot vary;
    TrainingError where the given recipe's training fails; NasError where Ray is missing.
    """
    files = tuple(str(Path(p).resolve()) for p in plugins)
    for file in files:
        use_file(file)
    data = domain().open_data(data) if isinstance(data, str) else data
    _check_split(data, split)
    shape = (3, *(size or input_size(architecture)))
    fitted = architecture.with_classes(len(data.classes)).with_input(shape)
    given, at = recipe or Recipe(), Path(folder)
    asked = Asked(
        architecture=fitted.text,
        data=data.text,
        size=input_size(fitted),
        split=split,
        split_seed=split_seed,
        recipe=given,
        vary=read_vary(vary, given, input_size(fitted)),
        scheduler=scheduler,
        samples=samples,
        seed=seed,
        budget_seconds=budget_seconds,
        plugins=files,
    )
    pool = pool or Pool(executor="ray")
    place = make_place(pool, scheduler)
    with _held(at):
        if overwrite and (at / SETTINGS).is_file():
            _clear(at)
        facts = {"architecture_id": fitted.id, "versions": versions(), "machine": machine()}
        begin(at, asked, resume=resume, facts=facts)
        tuning = _Tuning(asked, at, Path(cache or at / "cache").resolve(), place)
        if tuning.is_left(confirm):
            with connected(pool, place):
                whole = tuning.train(confirm, wanted=progress)
            if not whole:
                return Tuned(folder=at, ended="interrupted")
        return tuning.result(confirm)


class _Tuning:
    """One tuning: what was asked, what is known, and where it runs."""

    def __init__(self, asked: Asked, folder: Path, cache: Path, place: Place) -> None:
        self.asked, self.folder, self.cache, self.place = asked, folder, cache, place
        self.ledger = Ledger(folder)
        self.trainings = asked.trainings()

    def is_left(self, confirm: int) -> bool:
        """Whether there is anything to train."""
        if self._left(self.trainings):
            return True
        self._check_default()
        return bool(self._left(self.again(confirm)))

    def train(self, confirm: int, *, wanted: bool) -> bool:
        """Run what is left of both stages on Ray; return whether they have come to their end."""
        from nas.tuning.shown import Shown

        name = Architecture(self.asked.architecture).id
        show = Shown(name, self.ledger, self.asked.epochs, wanted=wanted)
        with contextlib.closing(show):
            if not self._stage(SEARCH, self.trainings, show):
                return False
            self._check_default()
            return self._stage(AGAIN, self.again(confirm), show)

    def again(self, confirm: int) -> list[Training]:
        """Return the trainings from scratch: of a population's mean values, and of both recipes with further seeds."""
        number = found_best(self.asked, self.ledger, self.trainings)
        if number == DEFAULT:
            return []
        best, default = self.trainings[number], self.trainings[DEFAULT]
        values, seed = best_values(self.asked, self.ledger, best), self.asked.seed
        wanted = [(values, seed, "scratch")] if self.asked.scheduler == "pbt" else []
        for k in range(confirm):
            other = derive_seed(seed, 0, f"confirm {k}")
            wanted += [(default.values, other, "confirm default"), (values, other, "confirm best")]
        return [Training(len(self.trainings) + i, *made) for i, made in enumerate(wanted)]

    def result(self, confirm: int) -> Tuned:
        """Compare, and write the recipe, the result and the table of all trainings."""
        again = self.again(confirm)
        found = compare(self.asked, self.ledger, self.trainings, again)
        lines = sentences(found, self.ledger, [*self.trainings, *again])
        about = f"tuned ({self.asked.scheduler}, seed {self.asked.seed}): {'; '.join(lines[:-1])}"
        recipe = {"source": about, **found.recipe.to_dict()}
        text = yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=120)
        write_atomic(self.folder / RECIPE, text.encode())
        ended: Literal["budget", "complete"] = "budget" if self._cut() else "complete"
        self._write(TABLE, {"trainings": [self._row(t) for t in (*self.trainings, *again)]})
        self._write(RESULT, {"ended": ended, **found.to_dict(), "lines": lines})
        shutil.rmtree(self.folder / "ray", ignore_errors=True)
        return Tuned(folder=self.folder, ended=ended, compared=found, lines=tuple(lines))

    def _stage(self, name: str, trainings: Sequence[Training], show: Shown) -> bool:
        from nas.tuning.schedulers import make_scheduler
        from nas.tuning.stage import Stage, run_stage

        budget = self.asked.budget_seconds if name == SEARCH else None
        show.begin(trainings, budget)
        stage = Stage(
            name=f"{name}-{len(trainings)}",
            trainings=tuple(trainings),
            order=self._order(name),
            scheduler=make_scheduler(self.asked, self.ledger) if name == SEARCH else None,
            place=self.place,
            folder=self.folder,
            ledger=self.ledger,
            show=show,
        )
        return run_stage(stage)

    def _order(self, stage: str) -> Order:
        """Return what the trainings of a stage share."""
        from nas.tuning.work import KEPT_EVERY, Order

        asked, searching = self.asked, stage == SEARCH
        left = None
        if searching and asked.budget_seconds is not None:
            left = asked.budget_seconds - self.ledger.seconds_used
        return Order(
            architecture=asked.architecture,
            data=asked.data,
            split=asked.split,
            split_seed=asked.split_seed,
            size=asked.size,
            cache=self.cache,
            recipe=asked.recipe.to_dict(),
            device=self.place.device,
            threads=self.place.threads,
            plugins=asked.plugins,
            ends=None if left is None else time.time() + left,
            share_every=interval(asked.epochs) if searching and asked.scheduler == "pbt" else 0,
            keep_every=KEPT_EVERY,
        )

    def _left(self, trainings: Sequence[Training]) -> list[int]:
        return [t.number for t in trainings if not self.ledger.track(t.number).ended]

    def _cut(self) -> bool:
        return any(self.ledger.track(t.number).state == "cut" for t in self.trainings)

    def _check_default(self) -> None:
        """Raise TrainingError where there is nothing to compare with."""
        track = self.ledger.track(DEFAULT)
        if track.state in {"failed", "died"}:
            how = "try another recipe" if track.state == "failed" else "--resume tries it again"
            raise TrainingError(
                f"the given recipe's training {track.state} ({track.reason}); {how}"
            )

    def _row(self, training: Training) -> dict[str, Any]:
        """Return a training as it stands in the table."""
        track = self.ledger.track(training.number)
        told = {name: getattr(track, name) for name in ("state", "reason", "epoch", "miou")}
        epochs = [{k: v for k, v in row.items() if k != "path"} for row in track.rows]
        path = track.rows[-1]["path"] if track.rows else []
        return {
            **asdict(training),
            **told,
            "seconds": round(track.seconds, 1),
            "path": path,
            "epochs": epochs,
        }

    def _write(self, name: str, content: dict[str, Any]) -> None:
        text = json.dumps({"schema": 1, **content}, indent=2) + "\n"
        write_atomic(self.folder / name, text.encode())


def _check_split(data: Any, split: str | None) -> None:
    """Raise RunError for a split that a recipe may not be chosen by."""
    if split in {"train", data.reporting}:
        why = "trained" if split == "train" else "reported"
        raise RunError(
            f"a recipe cannot be chosen by its score on {split!r}, on which networks are {why}; leave the split out"
        )


def _clear(folder: Path) -> None:
    """Remove an earlier tuning's files, and nothing else."""
    for name in (SETTINGS, RECIPE, TABLE, RESULT, LOG):
        (folder / name).unlink(missing_ok=True)
    shutil.rmtree(folder / "ray", ignore_errors=True)


@contextlib.contextmanager
def _held(folder: Path) -> Iterator[None]:
    """Keep other processes from tuning in this folder; raises RunError where one does."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            what = "another process is tuning in this folder"
            raise RunError(f"{folder}: {what}; wait for it, or choose another") from None
        yield
