"""Runs trainings by Ray Tune, quietly, and goes on with those that a kill has left."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import shutil
import stat
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ray import tune
from ray.tune.experiment import Trial
from ray.tune.schedulers import FIFOScheduler, TrialScheduler

from nas.errors import RunError
from nas.tuning.ledger import Ledger, State, Training
from nas.tuning.place import Place
from nas.tuning.schedulers import number_of
from nas.tuning.shown import Shown
from nas.tuning.work import Order, work

QUIET = {
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",  # no tables and pictures of Ray's own beside ours
    "TUNE_DISABLE_STRICT_METRIC_CHECKING": "1",  # a training that failed has no score
    "RAY_AIR_NEW_OUTPUT": "0",  # its headlines come whatever is asked
    "RAY_CHDIR_TO_TRIAL_DIR": "0",  # names of files mean what they mean here
}
RAY = "ray"
"""The folder of Ray Tune's own state: pickles, which only this user may be able to write."""
ERROR = re.compile(r"[\w.]+(Error|Exception|Died)\w*[:(]")
"""The line of a traceback that says what was raised."""
KEPT = {True: 4, False: 2}
"""Checkpoints of a training, where others may take one over and where not: Ray's record of them lags behind."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stage:
    """Trainings that run together, under a name that says what for; `scheduler` None lets each come to its end."""

    name: str
    trainings: tuple[Training, ...]
    order: Order
    scheduler: TrialScheduler | None
    place: Place
    folder: Path
    ledger: Ledger
    show: Shown

    @property
    def left(self) -> list[int]:
        """Trainings that have not ended."""
        return [t.number for t in self.trainings if not self.ledger.track(t.number).ended]


def run_stage(stage: Stage) -> bool:
    """Run what is left of a stage; return whether it has come to its end, which it has not after Ctrl-C.

    Raises RunError where others than this user could have written Ray's files of an earlier part.
    """
    if not stage.left:
        return True
    with _quiet():
        _tuner(stage).fit()
    return not stage.left


def _tuner(stage: Stage) -> tune.Tuner:
    """Return the tuner of a stage, new or restored; what Ray has lost costs epochs in flight, no ended training."""
    known = frozenset(t.number for t in stage.trainings) - frozenset(stage.left)
    order = replace(stage.order, ended=known)
    trainable = tune.with_resources(
        tune.with_parameters(work, order=order), {"cpu": stage.place.cpus, "gpu": stage.place.gpus}
    )
    given = {
        "trainable": trainable,
        "param_space": {"training": tune.grid_search([_config(t) for t in stage.trainings])},
    }
    how, run = _tune_config(stage), _run_config(stage)
    at = stage.folder / RAY / stage.name
    if not list(at.glob("experiment_state*.json")):
        shutil.rmtree(at, ignore_errors=True)
        return tune.Tuner(**given, tune_config=how, run_config=run)
    check_own(at)
    tuner = tune.Tuner.restore(str(at), **given, resume_errored=True)
    inner: Any = tuner._local_tuner  # noqa: SLF001 - what it has from its pickle speaks to a process that is gone
    inner._tune_config, inner._run_config = how, run  # noqa: SLF001
    return tuner


def _config(training: Training) -> dict[str, Any]:
    return {"number": training.number, "values": training.values, "seed": training.seed}


def _tune_config(stage: Stage) -> tune.TuneConfig:
    return tune.TuneConfig(
        metric="miou",
        mode="max",
        scheduler=stage.scheduler or FIFOScheduler(),  # type: ignore[no-untyped-call]
        max_concurrent_trials=stage.place.at_once,
        reuse_actors=True,
        trial_name_creator=_name,
        trial_dirname_creator=_name,
    )


def _run_config(stage: Stage) -> tune.RunConfig:
    return tune.RunConfig(
        name=stage.name,
        storage_path=str((stage.folder / RAY).resolve()),
        verbose=0,
        callbacks=[_Watch(stage)],
        failure_config=tune.FailureConfig(max_failures=stage.place.retries),
        checkpoint_config=tune.CheckpointConfig(num_to_keep=KEPT[stage.order.share_every > 0]),
    )


def _name(trial: Trial) -> str:
    return str(trial.config["training"]["number"])


class _Watch(tune.Callback):
    """Writes what Ray reports into the ledger, and shows it.

    Pickled as nothing: Ray keeps a copy, which a restart replaces.
    """

    def __init__(self, stage: Stage) -> None:
        self._stage = stage

    def __getstate__(self) -> dict[str, Any]:
        return {}

    def on_step_end(self, iteration: int, trials: list[Trial], **info: Any) -> None:  # noqa: ARG002
        self._stage.show.update([number_of(t) for t in trials if t.status == Trial.RUNNING])

    def on_trial_result(
        self,
        iteration: int,  # noqa: ARG002
        trials: list[Trial],  # noqa: ARG002
        trial: Trial,
        result: dict[str, Any],
        **info: Any,  # noqa: ARG002
    ) -> None:
        if "miou" in result:
            names = ("epoch", "loss", "lr", "seconds", "miou", "path")
            self._stage.ledger.epoch(number_of(trial), {name: result[name] for name in names})

    def on_trial_complete(
        self,
        iteration: int,  # noqa: ARG002
        trials: list[Trial],  # noqa: ARG002
        trial: Trial,
        **info: Any,  # noqa: ARG002
    ) -> None:
        last = trial.last_result or {}
        self._end(number_of(trial), last.get("ended"), str(last.get("reason", "")))

    def on_trial_error(
        self,
        iteration: int,  # noqa: ARG002
        trials: list[Trial],  # noqa: ARG002
        trial: Trial,
        **info: Any,  # noqa: ARG002
    ) -> None:
        self._end(number_of(trial), "died", _why(trial))

    def on_trial_recover(
        self,
        iteration: int,  # noqa: ARG002
        trials: list[Trial],  # noqa: ARG002
        trial: Trial,
        **info: Any,  # noqa: ARG002
    ) -> None:
        self._stage.show.lost(number_of(trial))

    def _end(self, number: int, told: State | None, reason: str) -> None:
        track = self._stage.ledger.track(number)
        if track.ended:
            return
        whole = track.epoch >= self._stage.order.epochs
        state: State = told or ("complete" if whole else "stopped")
        self._stage.ledger.end(number, state, reason)
        self._stage.show.ended(number)


def _why(trial: Trial) -> str:
    """Return the last error that Ray has noted of a training, in one line."""
    file = Path(trial.error_file) if trial.error_file else None
    text = file.read_text(encoding="utf-8", errors="replace") if file and file.is_file() else ""
    errors = [line.strip() for line in text.splitlines() if ERROR.match(line)]
    return f"{errors[-1] if errors else 'its worker died'} (try {trial.num_failures})"


def check_own(folder: Path) -> None:
    """Raise RunError unless this user alone can write the files that Ray is about to unpickle."""
    for path in (folder.parent, folder, *folder.glob("*.pkl"), *folder.glob("*.json")):
        found = path.lstat()
        mode = stat.S_IMODE(found.st_mode)
        if found.st_uid != os.geteuid() or mode & 0o022 or stat.S_ISLNK(found.st_mode):
            what = f"owner {found.st_uid}, mode {mode:o}"
            raise RunError(
                f"{path}: somebody else than you can write it ({what}), and Ray would run what is in it;"
                f" delete {folder} to go on without the trainings in flight"
            )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence Ray's own log and tables, and write files that only this user can change."""
    before = {name: os.environ.get(name) for name in QUIET}
    os.environ.update(QUIET)
    mask, logger = os.umask(0o077), logging.getLogger("ray.tune")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        os.umask(mask)
        logger.setLevel(level)
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
