"""A table made by hand: networks written as ONNX for a board that times them with whatever it has; totals come back."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from nas.architecture import Architecture
from nas.errors import LatencyError
from nas.latency.make_table import Effort, new_table
from nas.latency.table import Table, Timed, load_table
from nas.latency.target import Target
from nas.network import build
from nas.plan import Planner
from nas.space import Space

NETWORKS = 40
LIST = "times.csv"
COLUMNS = ("file", "milliseconds", "macs", "params")
TABLE = "table.json"


def plan_table(
    space: Space,
    target: Target,
    folder: Path | str,
    *,
    effort: Effort | None = None,
    told: Callable[[int, int], None] = lambda *_: None,
) -> Path:
    """Write some forty networks of a space as ONNX files, and `times.csv` with a line for each; return that list.

    Whoever times them fills in the column `milliseconds`, for one evaluation of one batch; lines may stay empty.
    Goes on where an earlier call was stopped. `told` hears (written, planned). Raises LatencyError for a folder that
    holds other files.
    """
    folder = Path(folder)
    _check_free(folder)
    table = new_table(space, target, effort or Effort(networks=NETWORKS))
    table = replace(table, conditions=replace(table.conditions, host="", versions={}))
    (folder / "networks").mkdir(parents=True, exist_ok=True)
    table.save(folder / TABLE)
    planner = Planner(target.size)
    with (folder / LIST).open("w", newline="", encoding="utf-8") as file:
        rows = csv.writer(file)
        rows.writerow(COLUMNS)
        for i, text in enumerate(table.planned):
            plan = planner.plan(Architecture(text))
            path = _write(text, target, folder, i)
            rows.writerow([path.relative_to(folder), "", plan.macs, plan.params])
            told(i + 1, len(table.planned))
    return folder / LIST


def _check_free(folder: Path) -> None:
    others = [p.name for p in folder.glob("*") if p.name not in {"networks", LIST, TABLE}]
    filled = (folder / LIST).is_file() and any(ms for _, ms in _times(folder / LIST))
    if others or filled:
        what = f"holds {others[0]}" if others else f"has times in its {LIST} already"
        raise LatencyError(f"{folder} {what}; name a new folder (--out)")


def _write(text: str, target: Target, folder: Path, number: int) -> Path:
    from nas.latency.runtimes.onnx_runtime import write

    path = folder / "networks" / f"{number:03d}.onnx"
    if not path.exists():
        draft = path.with_suffix(".part")
        write(build(Architecture(text), target.size, seed=0), target, draft)
        draft.replace(path)
    return path


def read_times(folder: Path | str, host: str, times: Path | str | None = None) -> Table:
    """Return the table of what `plan_table` wrote, with the totals of `times` (the folder's list by default).

    Raises LatencyError with the line of a value that is no time, or where a file is not of this plan.
    """
    folder = Path(folder)
    table = load_table(folder / TABLE)
    by_file = {f"networks/{i:03d}.onnx": text for i, text in enumerate(table.planned)}
    path = Path(times or folder / LIST)
    timed: list[Timed] = []
    for line, (name, ms) in enumerate(_times(path), start=2):
        known = name.replace("\\", "/")
        if known not in by_file:
            raise LatencyError(f"{path}:{line}: {name!r} is not one of the networks in {folder}")
        if ms:
            timed.append(Timed(architecture=by_file[known], ms=_milliseconds(path, line, ms)))
    conditions = replace(table.conditions, host=host)
    return replace(table, conditions=conditions).with_networks(*timed)


def _times(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (file, milliseconds as text) of each line."""
    if not path.is_file():
        raise LatencyError(f"no list of times at {path}; nas latency --plan-table SPACE writes one")
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        missing = [name for name in COLUMNS[:2] if name not in (rows.fieldnames or ())]
        if missing:
            raise LatencyError(
                f"{path}:1: no column {missing[0]!r}; expected {', '.join(COLUMNS[:2])}"
            )
        for row in rows:
            yield row["file"].strip(), (row["milliseconds"] or "").strip()


def _milliseconds(path: Path, line: int, text: str) -> float:
    try:
        ms = float(text)
    except ValueError:
        ms = 0.0
    if not 0 < ms < 1e7:
        raise LatencyError(f"{path}:{line}: {text!r} is no time; expected milliseconds above zero")
    return ms
