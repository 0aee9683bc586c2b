"""A run's folder: what was asked (`run.yaml`), the study, the lock, the log, and where everything else lies."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import platform
import secrets
import shlex
import socket
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import yaml

from nas.atomic import append_line, write_atomic
from nas.errors import RunError, suggest
from nas.pool import Pool
from nas.problem import Budget, Limits, Objective, Problem
from nas.storage_url import StorageUrl, masked, sqlite_url

if TYPE_CHECKING:
    from nas.record import TrialRecord

SCHEMA = 1
LATENCY = "latency.json"
SUPERNET = "supernet"
"""The folder of a differentiable search's supernet, in the run's."""
Ended = Literal["", "budget", "used up", "stalled", "interrupted", "failing", "dry run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All that was asked of a search, defaults resolved.

    `split` None is a held-back part of the training split; `target` is what latency is of, None where nobody asked.
    `fixed` are choices of the space closed by hand, path to value; `supernet` is the schedule of a differentiable
    search (`nas.relax.schedule.Schedule`), empty for any other. `storage` is the URL of the study's database without
    its password, None for a SQLite file in the run's folder, and `study` its name there.
    """

    space: str
    space_digest: str
    data: str
    classes: tuple[str, ...]
    data_digest: str
    size: tuple[int, int]
    problem: Problem
    strategy: str = "tpe"
    evaluator: str = "short_training"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    split: str | None = None
    seed: int = 0
    device: str = "cpu"
    target: str | None = None
    stall: int | None = None
    start_from: tuple[str, ...] = ()
    plugins: tuple[str, ...] = ()
    fixed: Mapping[str, str] = field(default_factory=dict)
    supernet: Mapping[str, Any] = field(default_factory=dict)
    pool: Pool = field(default_factory=Pool)
    storage: str | None = None
    study: str = ""

    @property
    def gpus_per_trial(self) -> float:
        """What a trial takes of accelerators, for counting their hours."""
        if not self.device.startswith("cuda"):
            return 0.0
        share = self.pool.gpus_per_trial
        return 1.0 if share is None else share

    def to_dict(self) -> dict[str, Any]:
        """Return plain data, as it stands in `run.yaml`."""
        problem = self.problem
        return {
            "space": {"name": self.space, "digest": self.space_digest},
            "data": {"open": self.data, "digest": self.data_digest, "classes": list(self.classes)},
            "size": list(self.size),
            "objectives": [o.name for o in problem.objectives],
            "limits": dict(problem.limits.items()),
            "budget": asdict(problem.budget),
            "strategy": self.strategy,
            "evaluator": self.evaluator,
            "pool": self.pool.to_dict(),
            "recipe": dict(self.recipe),
            "split": self.split,
            "seed": self.seed,
            "device": self.device,
            "target": self.target,
            "stall": self.stall,
            "start_from": list(self.start_from),
            "plugins": list(self.plugins),
            "fixed": dict(self.fixed),
            "supernet": dict(self.supernet),
            "study": {"storage": self.storage, "name": self.study},
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Settings:
        """Read what `to_dict` wrote; raises KeyError, TypeError or LimitError where something is missing or odd."""
        objectives = tuple(Objective.of(name) for name in data["objectives"])
        problem = Problem(objectives, Limits(**data["limits"]), Budget(**data["budget"]))
        height, width = data["size"]
        same = ("strategy", "evaluator", "recipe", "split", "seed", "device", "stall")
        return cls(
            space=data["space"]["name"],
            space_digest=data["space"]["digest"],
            data=data["data"]["open"],
            classes=tuple(data["data"]["classes"]),
            data_digest=data["data"]["digest"],
            size=(height, width),
            problem=problem,
            start_from=tuple(data["start_from"]),
            plugins=tuple(data["plugins"]),
            target=data.get("target"),
            fixed=data.get("fixed", {}),
            supernet=data.get("supernet", {}),
            pool=Pool.of(data.get("pool") or {"executor": data.get("executor")}),
            storage=data.get("study", {}).get("storage"),
            study=data.get("study", {}).get("name", ""),
            **{name: data[name] for name in same},
        )


@dataclass(frozen=True, slots=True)
class Run:
    """One search in its folder; `ended` says why the search that returned it ended ("" for an opened run).

    `password` is that of the study's database where one was given with its URL; it is never written.
    """

    folder: Path
    settings: Settings
    ended: Ended = ""
    password: str = field(default="", repr=False, compare=False)

    @classmethod
    def open(cls, folder: str | Path) -> Run:
        """Return the run in `folder`; raises RunError where there is none, or one of a newer schema."""
        path = Path(folder)
        data = _read(path)
        if data.get("schema") != SCHEMA:
            raise RunError(
                f"{path}: run.yaml has schema {data.get('schema')!r}, this version reads {SCHEMA}"
            )
        try:
            return cls(path, Settings.from_dict(data))
        except (KeyError, TypeError, ValueError) as error:
            raise RunError(f"{path}/run.yaml is damaged: {type(error).__name__}: {error}") from None

    @classmethod
    def create(cls, folder: str | Path, settings: Settings, space_text: str) -> Run:
        """Make the folder and write what was asked; raises RunError where a run is there already."""
        path = Path(folder)
        if (path / "run.yaml").exists():
            raise RunError(
                f"{path} holds a run already: --resume {path} goes on with it; or name another folder"
            )
        settings = replace(settings, study=settings.study or _study_name(path, settings.storage))
        write_atomic(path / "space.yaml", space_text.encode())
        head = {"schema": SCHEMA, "created": now(), "command": _command()}
        facts = {"versions": versions(), "machine": machine()}
        run = cls(path, settings)
        run.log("created", space=space_text)
        _write(path / "run.yaml", {**head, **settings.to_dict(), **facts})
        return run

    def change(self, **changes: Any) -> Run:
        """Return the run with some settings replaced, and `run.yaml` rewritten."""
        settings = replace(self.settings, **changes)
        _write(self.folder / "run.yaml", {**_read(self.folder), **settings.to_dict()})
        return replace(self, settings=settings)

    @property
    def problem(self) -> Problem:
        """Objectives, limits and budget."""
        return self.settings.problem

    @property
    def study_url(self) -> str:
        """The storage URL of the study, as Optuna and its dashboard take it."""
        if self.settings.storage is None:
            return sqlite_url(self.folder / "study.db")
        return StorageUrl(self.settings.storage, self.password).full

    @property
    def study_name(self) -> str:
        """The study's name in its database; a run from before names were kept has the only one of its file."""
        from nas.record import only_study

        return self.settings.study or only_study(self.study_url) or self.folder.resolve().name

    @property
    def has_begun(self) -> bool:
        """Whether a driver has had the study: then there is one."""
        return any(self.events("started"))

    @property
    def log_file(self) -> Path:
        """What happened, one event per line."""
        return self.folder / "log.jsonl"

    @property
    def cache(self) -> Path:
        """Where decoded data lies."""
        return self.folder / "cache"

    @property
    def space_file(self) -> Path:
        """The space as it was searched, with everything that it is built on."""
        return self.folder / "space.yaml"

    @property
    def space_as_created(self) -> str:
        """The text of the space when the run was made, "" where the log does not have it."""
        return str(next((e["space"] for e in self.events("created") if "space" in e), ""))

    @property
    def latency_table(self) -> Path:
        """What latency is predicted from, where the search asked for it."""
        return self.folder / LATENCY

    @property
    def resume_command(self) -> str:
        """What a person types to go on."""
        return f"nas search --resume {shlex.quote(str(self.folder))}"

    def trial_folder(self, number: int) -> Path:
        """Where a trial in flight may leave what it needs to go on after a kill; gone when it has ended."""
        return self.folder / "trials" / str(number)

    def architecture_file(self, architecture_id: str) -> Path:
        """Where the architecture `architecture_id` lies."""
        return self.folder / "architectures" / f"{architecture_id}.yaml"

    def trials(self) -> list[TrialRecord]:
        """Return all trials on record, in order."""
        from nas.record import read_trials

        names = [o.name for o in self.problem.objectives]
        return read_trials(self.study_url, names, self.settings.study)

    def log(self, event: str, **facts: Any) -> None:
        """Append one event to `log.jsonl`."""
        line = json.dumps({"time": now(), "event": event, **facts}, default=str)
        append_line(self.log_file, line)

    def events(self, name: str) -> Iterator[dict[str, Any]]:
        """Yield the events of a name, the last one first; a line that a kill has torn is none."""
        lines = (
            self.log_file.read_text(encoding="utf-8").splitlines() if self.log_file.exists() else []
        )
        for line in reversed(lines):
            if f'"event": "{name}"' in line:
                with contextlib.suppress(ValueError):
                    yield json.loads(line)

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the run against other drivers; the system lets go when this process ends, however it ends.

        Raises RunError saying who holds it.
        """
        with (self.folder / "lock").open("a+", encoding="utf-8") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                file.seek(0)
                holder = file.read().strip() or "another process"
                raise RunError(
                    f"{self.folder} is being searched by {holder}; wait for it, or stop it first"
                ) from None
            file.truncate(0)
            file.write(f"process {os.getpid()} on {socket.gethostname()} since {now()}")
            file.flush()
            yield
            file.truncate(0)


def now() -> str:
    """Return the time, UTC, to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def versions() -> dict[str, str]:
    """Return the versions of what a result depends on, without importing any of it."""
    found = {"python": platform.python_version()}
    for name in ("nas-segmentation", "torch", "optuna", "numpy", "pillow"):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def machine() -> dict[str, Any]:
    """Return what the run ran on: system, processor, usable cores, memory in GiB."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count()
    return {
        "system": platform.platform(),
        "processor": processor(),
        "cores": cores,
        "memory_gib": round(memory, 1),
    }


def _command() -> str:
    """Return what was typed; `python -m nas` is `nas`."""
    program = Path(sys.argv[0])
    name = program.parent.name if program.name == "__main__.py" else program.name
    return shlex.join([name, *map(masked, sys.argv[1:])])


def _study_name(folder: Path, storage: str | None) -> str:
    """Return a name for a new study: in a database that runs share it must be one that no other run has."""
    name = folder.resolve().name
    return name if storage is None else f"{name}-{secrets.token_hex(4)}"


def processor() -> str:
    """Return the name of the processor."""
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _read(folder: Path) -> dict[str, Any]:
    """Return `run.yaml` as data; raises RunError with the closest run beside it."""
    file = folder / "run.yaml"
    if not file.is_file():
        beside = sorted(p.parent.name for p in folder.parent.glob("*/run.yaml"))
        raise RunError(f"no run in {folder} (no run.yaml there); {suggest(folder.name, beside)}")
    try:
        data = yaml.safe_load(file.read_text(encoding="utf-8"))
    except yaml.YAMLError as error:
        raise RunError(f"{file} is damaged: {error}") from None
    if not isinstance(data, dict):
        raise RunError(f"{file} is damaged: expected settings, got {type(data).__name__}")
    return data


def _write(file: Path, data: Mapping[str, Any]) -> None:
    """Replace the file at once: a kill leaves the old one or the new one."""
    text = yaml.safe_dump(dict(data), sort_keys=False, allow_unicode=True, width=120)
    write_atomic(file, text.encode())
