"""What was asked of a search: defaults resolved for a new run, differences refused for one that goes on."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from nas import executors, gpus, registry, strategies
from nas.architecture import Architecture
from nas.errors import DataError, LimitError, RunError, SpaceError
from nas.fix import fixed
from nas.language.decide import decide
from nas.pool import Pool
from nas.problem import Budget, Problem, make_problem
from nas.recipe import Recipe
from nas.run import LATENCY, Run, Settings
from nas.space import Space, parse
from nas.space_difference import difference
from nas.storage_url import StorageUrl

OBJECTIVES = ("miou", "macs")
BUDGET = Budget(seconds=1800.0)
STEERED = ("macs", "params", "latency")
"""Costs that have an expected value, which a differentiable search can keep within a limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person gave; None is "not said", so that a resumed run can tell what would differ.

    `latency_table` is the file to predict latency from; `settings` holds what was said of the plain fields of
    `Settings`; `password` is that of the study's database.
    """

    space: Space | None = None
    data: str | None = None
    objectives: tuple[str, ...] | None = None
    limits: Mapping[str, str | float | None] = field(default_factory=dict)
    budget: Budget = field(default_factory=Budget)
    recipe: Recipe | None = None
    size: tuple[int, int] | None = None
    latency_table: str | None = None
    settings: Mapping[str, Any] = field(default_factory=dict)
    password: str = field(default="", repr=False)


def new_settings(asked: Asked) -> tuple[Settings, Space]:
    """Return the settings of a new run, and its space for the data's classes and size."""
    if asked.space is None:
        raise SpaceError("no space to search: name one (`nas spaces` lists them), or resume a run")
    data = registry.domain().open_data(asked.data or "street")
    problem = make_problem(asked.objectives or OBJECTIVES, asked.limits, asked.budget)
    if problem.budget == Budget():
        problem = Problem(problem.objectives, problem.limits, BUDGET)
    settings = Settings(
        space=asked.space.name,
        space_digest=asked.space.digest,
        data=data.text,
        classes=tuple(data.classes),
        data_digest=digest(data),
        size=_checked_size(asked.size or _own_size(asked.space) or data.size),
        problem=problem,
        recipe=(asked.recipe or Recipe()).to_dict(),
        **{**asked.settings, **_place(Pool.of(asked.settings.get("pool", {})), asked.settings)},
    )
    settings = with_supernet(with_target(settings, asked.latency_table))
    check(settings, data)
    return settings, fitted(asked.space, settings)


def with_target(settings: Settings, latency_table: str | None) -> Settings:
    """Return the settings with the target that latency is of: as said, that of the table, or a default one.

    Raises LimitError where a target or table is named, and latency neither limited nor an objective.
    """
    from nas.latency.table import load_table
    from nas.latency.target import Target, default_target

    if "latency" not in settings.problem.costs and not _aims_at_latency(settings):
        if settings.target is not None or latency_table is not None:
            raise LimitError(
                "a target or a latency table, but latency is neither limited (--max-latency) nor an objective"
                " (--objective latency); ask for one of them, or leave the target out"
            )
        return settings
    if settings.target is not None:
        return replace(settings, target=str(Target.of(settings.target, settings.size)))
    if latency_table is not None:
        return replace(settings, target=str(load_table(latency_table).target))
    return replace(settings, target=str(default_target(settings.size)))


def _aims_at_latency(settings: Settings) -> bool:
    """Return whether a differentiable search is to steer by latency."""
    terms = (settings.supernet.get(name, {}) for name in ("sweep", "targets", "limits", "weights"))
    return any("latency" in term for term in terms if isinstance(term, Mapping))


def with_supernet(settings: Settings) -> Settings:
    """Return the settings with the whole schedule of a differentiable search; limits are steered by as it learns.

    Raises RecipeError for a field that does not fit, LimitError where a schedule is given to another strategy.
    """
    from nas.relax.schedule import Schedule

    given = settings.supernet
    if settings.strategy != "differentiable":
        if given:
            raise LimitError(
                f"{', '.join(given)}: only a differentiable search has a supernet; add --strategy differentiable"
            )
        return settings
    aimed = {*given.get("sweep", {}), *given.get("targets", {}), *given.get("limits", {})}
    caps = {n: cap for n, cap in settings.problem.limits.items() if n in STEERED and n not in aimed}
    schedule = Schedule.of({**given, "limits": {**caps, **given.get("limits", {})}})
    return replace(settings, supernet=schedule.to_dict())


def check(settings: Settings, data: Any) -> None:
    """Raise where a name is unknown, or the search would look at images that it must not see."""
    strategies.find(settings.strategy)
    executors.check(settings.pool.executor)
    _check_gpu_hours(settings)
    if settings.stall is not None and settings.stall < 1:
        raise LimitError(f"stall: expected a number of trials from 1, got {settings.stall}")
    _check_split(settings, data)
    if settings.evaluator == "short_training":
        _check_batch(settings, data)


def _check_split(settings: Settings, data: Any) -> None:
    """Raise DataError where the split to score on is none, or one that the search must not see."""
    if settings.split is None:
        return
    data.split(settings.split)
    if settings.split == data.reporting:
        raise DataError(
            f"the search cannot score on {settings.split!r}: results are reported on that split, and what was chosen by"
            " it would look better than it is; leave --split out (a part of the training split is held back)"
            " or name a split of your own"
        )
    if settings.split == "train":
        raise DataError(
            "the search cannot score on the images that it trains on; leave --split out or name another split"
        )


def _check_batch(settings: Settings, data: Any) -> None:
    """Raise DataError where one batch takes more images than there are to train on."""
    whole = data.split("train")
    train = whole if settings.split else data.search_split(settings.seed)[0]
    batch = settings.recipe["batch"]
    if len(train) < batch:
        held = (
            "" if settings.split else f" ({len(whole) - len(train)} more are held back to score on)"
        )
        raise DataError(
            f"a batch takes {batch} images and there are {len(train)} to train on in {data.text}{held}; choose a"
            f" smaller batch (--batch {len(train)}), or add images"
        )


def fitted(space: Space, settings: Settings) -> Space:
    """Return the space for the run's classes and input size, with what is fixed closed."""
    sized = space.with_classes(len(settings.classes)).with_input((3, *settings.size))
    return fixed(sized, settings.fixed)


def digest(data: Any) -> str:
    """Return a short digest of classes and of the samples' names: what makes two scores comparable."""
    text = repr(
        (tuple(data.classes), sorted((k, [s.name for s in v]) for k, v in data.splits.items()))
    )
    return hashlib.sha256(text.encode()).hexdigest()[:12]


def changed(run: Run, asked: Asked) -> Run:
    """Return the run with its budget raised and its free settings replaced; RunError where anything else differs."""
    old = run.settings
    differences = [*_space_difference(run, asked.space), *_differences(old, asked)]
    if differences:
        what = "\n  ".join(differences)
        raise RunError(
            f"{run.folder} is another search; what differs:\n  {what}\n"
            "leave these out to go on with it, or start a new run (--run)"
        )
    changes: dict[str, Any] = {k: v for k, v in asked.settings.items() if k in {"stall", "storage"}}
    if asked.settings.keys() & {"device", "pool"}:
        pool = old.pool.changed(asked.settings.get("pool", {}))
        executors.check(pool.executor)
        changes |= _place(pool, {"device": old.device, **asked.settings})
    if asked.budget != Budget():
        budget = old.problem.budget.raised(asked.budget)
        changes["problem"] = Problem(old.problem.objectives, old.problem.limits, budget)
    _check_gpu_hours(replace(old, **changes))
    return run.change(**changes) if changes else run


def _differences(old: Settings, asked: Asked) -> list[str]:
    """Return "what: run has ..., asked for ..." for everything that was said and is not so."""
    given: dict[str, tuple[Any, Any]] = {}
    if asked.data is not None:
        given["data"] = (old.data, registry.domain().open_data(asked.data).text)
    if asked.objectives is not None:
        given["objectives"] = (tuple(o.name for o in old.problem.objectives), asked.objectives)
    limits = {name: cap for name, cap in asked.limits.items() if cap is not None}
    if limits:
        parsed = make_problem(OBJECTIVES, limits).limits
        given["limits"] = (dict(old.problem.limits.items()), dict(parsed.items()))
    if asked.recipe is not None:
        given |= _recipe_differences(Recipe.of(old.recipe).to_dict(), asked.recipe.to_dict())
    if asked.latency_table is not None:
        given["latency table"] = (f"its own, {LATENCY}", asked.latency_table)
    if asked.size is not None:
        given["size"] = (old.size, tuple(asked.size))
    if "storage" in asked.settings:
        given |= _storage_difference(old.storage, asked.settings["storage"])
    same = ("strategy", "evaluator", "split", "seed", "target", "plugins", "fixed")
    given |= {k: (getattr(old, k), asked.settings[k]) for k in same if k in asked.settings}
    for name, value in asked.settings.get("supernet", {}).items():
        given[f"supernet.{name}"] = (old.supernet.get(name), value)
    return [
        f"{name}: the run has {has}, asked for {wants}"
        for name, (has, wants) in given.items()
        if has != wants
    ]


def _space_difference(run: Run, space: Space | None) -> list[str]:
    if space is None or space.digest == run.settings.space_digest:
        return []
    head = f"space: the run has {run.settings.space}, asked for {space.name}"
    return [f"{head}{_changes(run, space)}".replace("\n", "\n    ")]


def _storage_difference(old: str | None, new: str) -> dict[str, tuple[Any, Any]]:
    """Return what differs where this is another database; another user, or way to connect, may be asked for."""
    if old is not None and StorageUrl(old).database == StorageUrl(new).database:
        return {}
    return {"storage": (old or "its study in its own folder", new)}


def _recipe_differences(
    old: Mapping[str, Any], new: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    return {f"recipe.{k}": (old.get(k), v) for k, v in new.items() if old.get(k) != v}


def check_unchanged(run: Run, space: Space) -> None:
    """Raise RunError where the run's own space file, or its data, are no longer what was searched."""
    settings = run.settings
    if space.digest != settings.space_digest:
        raise RunError(
            f"{run.space_file} was changed since the run was made; put it back as it was, or start a new run with it"
            f" (--run){_changes(run, space)}"
        )
    data = registry.domain().open_data(settings.data)
    if digest(data) != settings.data_digest:
        counts = ", ".join(f"{name} {len(samples)}" for name, samples in data.splits.items())
        raise RunError(
            f"{settings.data} is no longer what {run.folder} was searched on: it has now {len(data.classes)} classes"
            f" (the run {len(settings.classes)}) and {counts} images, or other names; scores would not compare"
        )


def _changes(run: Run, space: Space) -> str:
    """Return ": what differs:" and the lines that do, where the run knows its space as it was."""
    try:
        before = parse(run.space_as_created)
    except SpaceError:
        return f"; digests {run.settings.space_digest} (the run) and {space.digest}"
    return f"; what differs:\n{difference(before, space)}"


def starting_points(
    space: Space, settings: Settings, names: tuple[str, ...]
) -> dict[str, dict[str, Any]]:
    """Return the parameters of each named architecture; SpaceError names the place where one lies outside the space.

    One that is outside for its auxiliary heads only, which are for training, starts without them.
    """
    from nas.architecture import load_architecture

    found: dict[str, dict[str, Any]] = {}
    for name in names:
        architecture = (
            load_architecture(name)
            .with_classes(len(settings.classes))
            .with_input((3, *settings.size))
        )
        try:
            found[name] = strategies.parameters(space, _decided(space, architecture))
        except SpaceError as error:
            raise SpaceError(
                f"--start-from {name}: not in the space {settings.space}: {error}"
            ) from None
    return found


def _decided(space: Space, architecture: Architecture) -> dict[str, int]:
    try:
        return decide(space, architecture)
    except SpaceError:
        return decide(space, registry.domain().without_auxiliary(architecture))


def default_folder(space: str, results: Path, stamp: str) -> Path:
    """Return a folder for a new run that is not there yet."""
    base = results / f"{space}-{stamp}"
    folder, n = base, 1
    while folder.exists():
        n += 1
        folder = base.with_name(f"{base.name}-{n}")
    return folder


def _own_size(space: Space) -> tuple[int, int] | None:
    """Return the (height, width) that the space names as its input; None where it names none."""
    shape = space.tree.get("input")
    return (shape[1], shape[2]) if isinstance(shape, list) and len(shape) == 3 else None


def _checked_size(size: tuple[int, int]) -> tuple[int, int]:
    height, width = size
    if min(height, width) < 1:
        raise LimitError(f"input size {height}x{width}: expected height and width from 1")
    return int(height), int(width)


def _place(pool: Pool, said: Mapping[str, Any]) -> dict[str, Any]:
    """Return the device to train on, and the pool with what a trial gets of accelerators.

    Raises RunError where trials are to have accelerators and run on the CPU.
    """
    on_cluster = pool.executor == "ray" and said.get("device") in {None, "auto"}
    device = (
        ("cuda" if pool.gpus_per_trial else "cpu") if on_cluster else _device(said.get("device"))
    )
    if pool.gpus_per_trial and not device.startswith("cuda"):
        raise RunError(
            f"{pool.gpus_per_trial:g} GPUs per trial, but trials run on {device}; add --device cuda, or leave them out"
        )
    if pool.executor == "processes" and pool.gpus_per_trial is None and device == "cuda":
        share = min(1.0, len(gpus.visible()) / (pool.workers or 1))
        pool = replace(pool, gpus_per_trial=share)
    return {"device": device, "pool": pool}


def _check_gpu_hours(settings: Settings) -> None:
    """Raise LimitError where the budget counts what trials do not use."""
    if settings.problem.budget.gpu_seconds is not None and not settings.gpus_per_trial:
        raise LimitError(
            f"the budget counts GPU-hours, but trials run on {settings.device} and use none; give it a time or trials"
        )


def _device(name: str | None) -> str:
    """Return the device to train on; None and "auto" take a GPU where there is one."""
    if name not in {None, "auto"}:
        return str(name)
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
