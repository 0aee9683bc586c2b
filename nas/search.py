"""Search a space on your own images: one call, in a run folder that a killed search goes on from."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any

from nas import asked as asking
from nas import database, executors, registry
from nas.architecture import Architecture, save_architecture
from nas.asked import Asked
from nas.candidates import Candidates
from nas.cost import Counter
from nas.draws import Drawer
from nas.driver import Driver
from nas.errors import RunError
from nas.executors import Executor
from nas.fix import parse_fixes
from nas.full_disk import full_disk_told
from nas.job import Job
from nas.latency import in_search as latency
from nas.problem import Budget, parse_budget
from nas.progress import Progress, closing_lines, make_progress
from nas.recipe import Recipe
from nas.record import Record
from nas.run import LATENCY, SUPERNET, Run, Settings
from nas.space import Space, load_space
from nas.storage_url import StorageUrl

if TYPE_CHECKING:
    from nas.preflight import Preflight
    from nas.strategies.differentiable import Guide

RESULTS = Path("results")


def search(
    space: Space | str | Path | None = None,
    *,
    data: Any = None,
    objectives: Iterable[str] | None = None,
    max_macs: str | int | None = None,
    max_params: str | int | None = None,
    max_memory: str | int | None = None,
    max_latency: str | float | None = None,
    target: str | None = None,
    latency_table: str | Path | None = None,
    budget: str | Budget | Iterable[str] = (),
    strategy: str | None = None,
    recipe: Recipe | Mapping[str, Any] | str | Path | None = None,
    size: tuple[int, int] | None = None,
    split: str | None = None,
    seed: int | None = None,
    device: str | None = None,
    stall: int | None = None,
    fix: Iterable[str] = (),
    supernet: Mapping[str, Any] | None = None,
    evaluator: str | None = None,
    executor: str | None = None,
    workers: int | None = None,
    cpus_per_trial: float | None = None,
    gpus_per_trial: float | None = None,
    address: str | None = None,
    retries: int | None = None,
    start_from: Iterable[str | Path] = (),
    plugins: Iterable[str | Path] = (),
    storage: str | None = None,
    run: str | Path | None = None,
    resume: str | Path | None = None,
    dry_run: bool = False,
    preflight: bool = True,
    progress: bool | Progress = True,
) -> Run:
    """Search `space` on `data` and return the run, whose `ended` says why the search ended.

    A new run needs a space; all else has a default (built-in data, the space's own input size, mIoU against MACs,
    TPE, 30 minutes, `results/SPACE-TIME`). `resume` names a run to go on with: what is left out is taken from it,
    `budget` raises its own, `start_from` adds to what it tries, `stall`, `device` and where trials run may change,
    anything else must be as it was. `fix` closes choices of the space ("PATH=VALUE"); `supernet` holds fields of
    `nas.relax.schedule.Schedule` for the strategy "differentiable". `dry_run` stops after the pre-flight and leaves no
    run.

    A space "table:FILE" (or an evaluator, with or without a space of one's own) scores by a table in place of training,
    and has no pre-flight: see `nas.evaluators.table`.

    Trials run one at a time in a process of their own; `executor` "processes" runs `workers` of them at once on this
    machine, "ray" on the cluster at `address`, or one that it starts here. Each gets `cpus_per_trial` and
    `gpus_per_trial`; one whose worker died goes out again `retries` times (see `nas.pool.Pool`).

    The study is kept in a file of the run's folder, or in the database at `storage` (PostgreSQL, MySQL, a SQLite file),
    which many runs may share; its password is never written: see `nas.storage_url`.

    Latency (`max_latency`, or "latency" among the objectives) is predicted for `target`, by default ONNX Runtime on one
    thread of this machine, from `latency_table`; without one some dozens of networks are timed first, once for this
    space and machine. The networks of the final front are measured.

    Raises SpaceError, DataError, LimitError, LatencyError, RecipeError or RunError before the budget starts, and
    StorageError, also later, where the database or the disk does not take what is to be kept. With the
    first Ctrl-C the run ends as "interrupted" and can be resumed; the second one comes through as KeyboardInterrupt.
    """
    from nas.evaluators import table

    registry.load()
    files = tuple(str(Path(p).resolve()) for p in plugins)
    for file in files:
        registry.use_file(file)
    where = None if storage is None else StorageUrl.of(storage)
    space, evaluator = table.asked_of(space, evaluator, new=resume is None)
    preflight = preflight and not table.is_table(evaluator)
    said = {
        "strategy": strategy,
        "evaluator": evaluator,
        "pool": _said(
            executor=executor,
            workers=workers,
            cpus_per_trial=cpus_per_trial,
            gpus_per_trial=gpus_per_trial,
            address=address,
            retries=retries,
        )
        or None,
        "split": split,
        "target": target,
        "seed": seed,
        "device": device,
        "stall": stall,
        "storage": None if where is None else where.text,
        "plugins": files or None,
        "fixed": parse_fixes(fix) or None,
        "supernet": supernet or None,
    }
    asked = Asked(
        space=load_space(space) if isinstance(space, str | Path) else space,
        data=None if data is None else str(getattr(data, "text", data)),
        objectives=None if objectives is None else tuple(objectives) or None,
        limits={
            "macs": max_macs,
            "params": max_params,
            "memory": max_memory,
            "latency": max_latency,
        },
        latency_table=None if latency_table is None else str(latency_table),
        budget=budget if isinstance(budget, Budget) else parse_budget(budget),
        recipe=recipe if recipe is None or isinstance(recipe, Recipe) else Recipe.of(recipe),
        size=size,
        settings={name: value for name, value in said.items() if value is not None},
        password="" if where is None else where.password,
    )
    names = tuple(str(s) for s in start_from)
    show = make_progress(progress)
    try:
        if resume is None:
            return _begin(asked, names, run, show, checks=(preflight, dry_run))
        if run is not None and Path(run) != Path(resume):
            raise RunError(f"--resume {resume} goes on in its own folder; leave --run {run} out")
        return _go_on(asked, names, Path(resume), show, checks=(preflight and dry_run, dry_run))
    finally:
        show.close()


def _said(**fields: Any) -> dict[str, Any]:
    """Return the fields that somebody gave."""
    return {name: value for name, value in fields.items() if value is not None}


def _begin(
    asked: Asked,
    names: tuple[str, ...],
    folder: str | Path | None,
    show: Progress,
    *,
    checks: tuple[bool, bool],
) -> Run:
    """Check everything, make the run's folder, and search."""
    settings, space = asking.new_settings(asked)
    starts = asking.starting_points(space, settings, names)
    settings = replace(settings, start_from=names)
    stamp = datetime.now().strftime("%Y%m%d-%H%M%S")  # noqa: DTZ005 - a name for a person at this machine
    path = Path(folder) if folder else asking.default_folder(settings.space, RESULTS, stamp)
    if (path / "run.yaml").exists():
        raise RunError(
            f"{path} holds a run already: --resume {path} goes on with it; or name another folder"
        )
    if settings.storage is not None:
        database.check(StorageUrl(settings.storage, asked.password).full)
    here = "target" in asked.settings
    table = latency.table_for(space, settings, asked.latency_table, show.say, here=here)
    counter = Counter(settings.size, latency.predictor(table))
    _check_targets(space, settings, counter)
    check, only_check = checks
    with _executor(settings) as executor, _cache(path, temporary=only_check) as cache:
        assert asked.space is not None
        if check:
            found = _preflight(space, settings, cache, executor, counter=counter, show=show)
            if table is not None:
                table.save(cache / LATENCY)
            settings = _scheduled(
                settings, asked.space.text, found.trial_seconds, cache, executor, show=show
            )
        if only_check:
            return Run(path, settings, "dry run")
        run = replace(Run.create(path, settings, asked.space.text), password=asked.password)
        if table is not None:
            table.save(run.latency_table)
        with full_disk_told(path), run.lock():
            return _drive(run, space, starts, executor, counter=counter, show=show)


def _go_on(
    asked: Asked, names: tuple[str, ...], folder: Path, show: Progress, *, checks: tuple[bool, bool]
) -> Run:
    """Go on with a run that is the same search."""
    run = replace(Run.open(folder), password=asked.password)
    with full_disk_told(folder), run.lock():
        for file in run.settings.plugins:
            registry.use_file(file)
        run = asking.changed(run, asked)
        original = load_space(run.space_file)
        asking.check_unchanged(run, original)
        space = asking.fitted(original, run.settings)
        starts = asking.starting_points(space, run.settings, names or run.settings.start_from)
        counter = Counter(run.settings.size, latency.predictor(latency.table_of(run)))
        check, only_check = checks
        with _executor(run.settings) as executor:
            if check:
                _preflight(space, run.settings, run.cache, executor, counter=counter, show=show)
            if only_check:
                return replace(run, ended="dry run")
            return _drive(run, space, starts, executor, counter=counter, show=show)


def _drive(
    run: Run,
    space: Space,
    starts: Mapping[str, Mapping[str, Any]],
    executor: Executor,
    *,
    counter: Counter,
    show: Progress,
) -> Run:
    """Open the record and run the loop; the lock is held."""
    objectives = {o.name: o.direction for o in run.problem.objectives}
    known = run.has_begun
    record = Record(run.study_url, run.study_name, objectives, say=show.say, known=known)
    try:
        started = {t.start_from for t in record.trials}
        for name, params in starts.items():
            if name not in started:
                record.enqueue(params, name)
        run.log(
            "started",
            kept=len(record.trials),
            given_back=record.given_back,
            seconds_used=record.seconds_used,
        )
        if record.given_back:
            show.say(f"given back after an interruption: {', '.join(map(str, record.given_back))}")
        candidates = Candidates(space, run.settings, record, counter, _guide(run, record))
        driver = Driver(run, record, candidates, executor=executor, progress=show)
        ended = replace(run, ended=driver.search())
        _save_front(ended, driver)
        _plot_supernet(ended, show)
        show.close()
        if ended.ended != "interrupted":
            latency.measure_front(ended, driver.view.front, show.say)
        for line in closing_lines(ended, driver.view):
            show.say(line)
        return ended
    finally:
        record.close()


def _save_front(run: Run, driver: Driver) -> None:
    """Write the architectures of the front as files that a person can read."""
    for trial in driver.view.front:
        file = run.architecture_file(trial.architecture_id)
        if not file.exists():
            file.parent.mkdir(parents=True, exist_ok=True)
            save_architecture(Architecture(trial.architecture), file)


def _plot_supernet(run: Run, show: Progress) -> None:
    """Draw what was watched while a supernet's architecture was learned, a picture for each branch."""
    for file in sorted((run.folder / SUPERNET).glob("branch-*-epochs.json")):
        from nas.relax.watch_plot import plot_watch

        rows = json.loads(file.read_text(encoding="utf-8"))
        picture = file.with_name(file.name.replace("-epochs.json", ".png"))
        show.say(f"watched: {plot_watch([row['watched'] for row in rows], picture)}")


def _preflight(
    space: Space,
    settings: Settings,
    cache: Path,
    executor: Executor,
    *,
    counter: Counter,
    show: Progress,
) -> Preflight:
    """Find what does not work, and say how long a trial takes, before the budget starts."""
    from nas.preflight import preflight

    job = Job.of(settings, cache, number=0, architecture="", seed=settings.seed)
    found = preflight(
        space, settings.problem, job, executor, counter=counter, seed=settings.seed, say=show.say
    )
    for line in found.report().splitlines():
        show.say(line)
    return found


def _scheduled(
    settings: Settings,
    space: str,
    trial_seconds: float,
    cache: Path,
    executor: Executor,
    *,
    show: Progress,
) -> Settings:
    """Return the settings with the number of the supernet's epochs, where there is one, as they fit the budget."""
    if settings.strategy != "differentiable":
        return settings
    from nas.relax.preflight import fitted_schedule

    schedule = fitted_schedule(settings, space, cache, executor, trial_seconds, say=show.say)
    return replace(settings, supernet=schedule.to_dict())


def _check_targets(space: Space, settings: Settings, counter: Counter) -> None:
    """Raise LimitError where a differentiable search is to end at a cost that the space cannot have."""
    if sweep := settings.supernet.get("sweep"):
        from nas.relax.reach import check_targets

        check_targets(Drawer(space, counter), sweep, Random(settings.seed))


def _guide(run: Run, record: Record) -> Guide | None:
    """Return what says which job comes next in a differentiable search."""
    if run.settings.strategy != "differentiable":
        return None
    from nas.strategies.differentiable import Guide

    return Guide(run, record)


@contextmanager
def _executor(settings: Settings) -> Iterator[Executor]:
    executor = executors.make(settings.pool)
    try:
        yield executor
    finally:
        executor.close()


@contextmanager
def _cache(folder: Path, *, temporary: bool) -> Iterator[Path]:
    """Yield the run's cache folder; one that goes away again where no run is to be left."""
    if not temporary:
        yield folder / "cache"
        return
    with tempfile.TemporaryDirectory(prefix="nas-") as name:
        yield Path(name)
