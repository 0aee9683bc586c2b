"""Every published architecture in one table: parameters, MACs, latency here, and mIoU after one short common recipe.

    python benchmarks/published.py --no-training
    python benchmarks/published.py --data camvid:DIR --train-input 96x128 --epochs 6 --hours 1

All are set to the data's classes (CamVid's 11 without --data) and to one input size. Latency is on one thread, in ONNX
Runtime and in eager PyTorch, networks of similar MACs taking turns. Trainings are `nas retrain` with the recipe
`common`: the smallest network of each system first, then the second of each. What is done lies in `OUT/parts`, one
file per architecture, and is not done again; a failure is kept there too, as the row's error: remove the file to try
again. `table.md` and `table.json` are written anew after each step.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

import nas
from nas import registry
from nas.architecture import Architecture, load_architecture, published
from nas.atomic import write_atomic
from nas.cli.app import INTERRUPTED
from nas.cost import cost
from nas.latency.make_table import held, reference
from nas.latency.measure import Measured, interleaved
from nas.latency.runtimes import Session
from nas.latency.target import Target, versions
from nas.recipe_file import recipe_of
from nas.run import machine
from nas.units import show_count

TARGETS = ("onnxruntime", "eager")
CAMVID_CLASSES = 11
TOGETHER = 6
"""Architectures that take turns: each is in memory twice, and once more inside the runtime."""
Size = tuple[int, int]
Row = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Bench:
    """What was asked, and the files that it goes to."""

    out: Path
    data: str | None
    size: Size
    classes: int
    train_size: Size
    epochs: int
    seeds: tuple[int, ...]

    def file(self, name: str) -> Path:
        """Where one architecture's row lies."""
        return self.out / "parts" / f"{name}.json"

    def architecture(self, name: str, size: Size) -> Architecture:
        """Return a published architecture for the data's classes at an input size."""
        return load_architecture(name).with_classes(self.classes).with_input((3, *size))

    def row(self, name: str) -> Row:
        """Return what is known of an architecture; SystemExit where that was of another size or recipe."""
        file = self.file(name)
        row: Row = {"name": name}
        if file.is_file():
            row = json.loads(file.read_text(encoding="utf-8"))
        asked = {"input": list(self.size), "classes": self.classes}
        trained = {"size": list(self.train_size), "epochs": self.epochs}
        known = [(row, asked), *((t, trained) for t in row.get("trainings", {}).values())]
        for found, wanted in known:
            if other := {k: found[k] for k, v in wanted.items() if found.get(k, v) != v}:
                raise SystemExit(f"{file} is of {other}, asked was {wanted}; choose another --out")
        return {**row, **asked}

    def keep(self, row: Row) -> None:
        """Write one architecture's row."""
        text = json.dumps(row, indent=2) + "\n"
        write_atomic(self.file(row["name"]), text.encode())


def main() -> None:
    """Do what is missing, step by step, and keep the table up to date."""
    asked = arguments()
    registry.load()
    bench = bench_of(asked)
    bench.file("").parent.mkdir(parents=True, exist_ok=True)
    names = asked.only or [*published()]
    for name in names:
        count(bench, name)
    if not asked.no_latency:
        waiting = [n for n in in_order(bench, names) if "latency" not in bench.row(n)]
        for at in range(0, len(waiting), TOGETHER):
            time_group(bench, waiting[at : at + TOGETHER], asked.runs)
            write_table(bench)
    if not asked.no_training:
        train_all(bench, names, asked.jobs, time.monotonic() + 3600 * asked.hours)
    write_table(bench)


def arguments() -> argparse.Namespace:
    """Return what was asked for."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--data", help="what is trained on, e.g. camvid:DIR")
    add("--input", type=size_of, default=(180, 240), help="HxW of counts and latency (180x240)")
    add("--train-input", type=size_of, help="HxW of trainings; that of --input if left out")
    add("--epochs", type=int, default=6, help="of each training (6)")
    add("--seeds", type=int, nargs="+", default=[0], help="one training each (0)")
    add("--only", nargs="+", metavar="NAME", help="these architectures alone")
    add("--hours", type=float, default=12.0, help="start no training after so many (12)")
    add("--jobs", type=int, default=1, help="trainings at once, one thread each (1)")
    add("--runs", type=int, default=10, help="timed evaluations of each network (10)")
    add("--no-latency", action="store_true")
    add("--no-training", action="store_true")
    add("--out", type=Path, default=Path("results/published"))
    asked = parser.parse_args()
    if asked.data is None and not asked.no_training:
        parser.error("trainings need --data, e.g. camvid:DIR; or give --no-training")
    return asked


def bench_of(asked: argparse.Namespace) -> Bench:
    """Return what was asked, with the classes of the data."""
    data = asked.data
    classes = CAMVID_CLASSES if data is None else len(registry.domain().open_data(data).classes)
    train_size = asked.train_input or asked.input
    seeds = tuple(asked.seeds)
    return Bench(asked.out, data, asked.input, classes, train_size, asked.epochs, seeds)


def size_of(text: str) -> Size:
    """Return (height, width) of "HEIGHTxWIDTH"."""
    height, width = map(int, text.split("x"))
    return height, width


def count(bench: Bench, name: str) -> None:
    """Count MACs, parameters and memory of one image, unless they are known."""
    row = bench.row(name)
    if "macs" in row or "error" in row:
        return
    try:
        architecture = bench.architecture(name, bench.size)
        counted = cost(architecture)
    except Exception as error:  # noqa: BLE001  a row of the table says what went wrong
        bench.keep({**row, "error": told(error)})
        return
    found = {"macs": counted.macs, "params": counted.params, "memory_bytes": counted.memory_bytes}
    bench.keep({**row, "id": architecture.id, "system": recipe_of(name) or name, **found})


def in_order(bench: Bench, names: Sequence[str]) -> list[str]:
    """Return the architectures that could be counted, by MACs."""
    rows = [row for name in names if "macs" in (row := bench.row(name))]
    return [row["name"] for row in sorted(rows, key=lambda row: row["macs"])]


def time_group(bench: Bench, names: Sequence[str], runs: int) -> None:
    """Time some networks on every target, all taking turns with each other and the reference network."""
    targets = [Target.of(target, bench.size) for target in TARGETS]
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        beside = stack.enter_context(held(reference(targets[0]), targets[0]))
        sessions: dict[str, Session] = {}
        for name, target in ((n, t) for n in names for t in targets):
            opened = partial(held, bench.architecture(name, bench.size), target)
            try:
                session = stack.enter_context(opened())
                session.time()
            except Exception as error:  # noqa: BLE001  a row of the table says what went wrong
                failed[f"{name} {target.runtime}"] = told(error)
            else:
                sessions[f"{name} {target.runtime}"] = session
        load = os.getloadavg()[0]
        measured = interleaved(sessions, beside, runs=runs)
    for name in names:
        found = {t: of_target(measured, failed, f"{name} {t}") for t in TARGETS}
        bench.keep({**bench.row(name), "latency": found, "load": [load, os.getloadavg()[0]]})
        print(name, *(f"{t} {shown_ms(found[t])}" for t in TARGETS), flush=True)


def of_target(measured: Mapping[str, Measured], failed: Mapping[str, str], key: str) -> Row:
    """Return what one network took on one target, or its error."""
    return {"error": failed[key]} if key in failed else asdict(measured[key])


def train_all(bench: Bench, names: Sequence[str], jobs: int, end: float) -> None:
    """Train what is not trained yet, until the time is over; `jobs` at once."""
    waiting = [(name, seed) for seed in bench.seeds for name in smallest_first(bench, names)]
    waiting = [(n, s) for n, s in waiting if str(s) not in bench.row(n).get("trainings", {})]
    with ThreadPoolExecutor(jobs) as pool:
        todo = {pool.submit(train, bench, n, s, end): (n, s) for n, s in waiting}
        for done in as_completed(todo):
            (name, seed), found = todo[done], done.result()
            if found is None:
                continue
            row = bench.row(name)
            bench.keep({**row, "trainings": {**row.get("trainings", {}), str(seed): found}})
            write_table(bench)
            print(name, f"seed {seed}", found.get("miou", found.get("error")), flush=True)


def smallest_first(bench: Bench, names: Sequence[str]) -> list[str]:
    """Return the smallest of each system by MACs, then the second of each, and so on."""
    seen: Counter[str] = Counter()
    ranked = []
    for place, name in enumerate(in_order(bench, names)):
        system = bench.row(name)["system"]
        ranked.append((seen[system], place, name))
        seen[system] += 1
    return [name for _, _, name in sorted(ranked)]


def train(bench: Bench, name: str, seed: int, end: float) -> Row | None:
    """Train one network in a process of its own; None where it is too late to start, or it was interrupted."""
    if time.monotonic() >= end:
        return None
    folder = bench.out / "trainings"
    command = [sys.executable, "-m", "nas", "retrain", name, "--data", str(bench.data)]
    command += ["--input", shown_size(bench.train_size), "--recipe", "common", "--device", "cpu"]
    command += ["--epochs", str(bench.epochs), "--seed", str(seed), "--run", str(folder)]
    package = str(Path(nas.__file__).parents[1])
    path = os.pathsep.join([package, os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": path}
    code, said, seconds = run([*command, "--resume"], environment)
    if code == INTERRUPTED:
        return None
    identity = bench.architecture(name, bench.train_size).id
    file = folder / "retrained" / identity / f"seed-{seed}" / "score.json"
    wanted = {"size": list(bench.train_size), "epochs": bench.epochs}
    if code or not file.is_file():
        last = said.strip().splitlines()[-1:] or [f"exit status {code}"]
        return {**wanted, "error": last[0]}
    scored = json.loads(file.read_text(encoding="utf-8"))
    kept = ("size", "epochs", "miou", "iou", "seconds", "macs", "precision", "threads")
    found = {key: scored[key] for key in kept if key in scored}
    return {**found, "processor_seconds": round(seconds, 1)}


def run(command: Sequence[str], environment: Mapping[str, str]) -> tuple[int, str, float]:
    """Run a process; return its exit status, what it said on standard error, and its processor seconds."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command, env=environment, stdout=subprocess.DEVNULL, stderr=said, text=True
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        said.seek(0)
        return process.returncode, said.read(), usage.ru_utime + usage.ru_stime


def write_table(bench: Bench) -> None:
    """Write `table.json` and `table.md` from every row there is, by MACs."""
    names = sorted(file.stem for file in (bench.out / "parts").glob("*.json"))
    rows = sorted((bench.row(name) for name in names), key=lambda row: row.get("macs", 0))
    made_with = {**versions(Target(runtime="onnxruntime")), **machine()}
    head = {"input": bench.size, "classes": bench.classes, "versions_and_machine": made_with}
    data = (bench.data or "").partition(":")[0] or None
    training = {"recipe": "common", "data": data, "input": bench.train_size, "epochs": bench.epochs}
    everything = {**head, "training": training, "rows": rows}
    text = json.dumps(everything, indent=1) + "\n"
    write_atomic(bench.out / "table.json", text.encode())
    write_atomic(bench.out / "table.md", ("\n".join(lines(bench, rows)) + "\n").encode())


def lines(bench: Bench, rows: Sequence[Row]) -> Iterator[str]:
    """Yield the table in Markdown, and below it what failed."""
    at, trained = shown_size(bench.size), shown_size(bench.train_size)
    epochs = f"{bench.epochs} epochs, {trained}"
    columns = ["architecture", "params", f"MACs at {at}", "ONNX Runtime, ms", "repeats to"]
    columns += ["eager, ms", "repeats to", f"mIoU, % ({epochs})", "processor minutes"]
    yield "| " + " | ".join(columns) + " |"
    yield "|---" + "|---:" * (len(columns) - 1) + "|"
    for row in rows:
        yield "| " + " | ".join(cells(row)) + " |"
    for row in rows:
        yield from (f"\n- {row['name']}: {where}: {error}" for where, error in errors(row))


def cells(row: Row) -> Iterator[str]:
    """Yield the cells of one architecture: "-" is not done, "failed" has its error below the table."""
    yield f"`{row['name']}`"
    yield from (show_count(row[key]) if key in row else "failed" for key in ("params", "macs"))
    for target in TARGETS:
        found = row.get("latency", {}).get(target)
        yield shown_ms(found)
        yield f"{found['spread']:.1%}" if found and "spread" in found else "-"
    trainings = row.get("trainings", {}).values()
    yield over_seeds(trainings, "miou", lambda value: f"{100 * value:.1f}")
    yield over_seeds(trainings, "processor_seconds", lambda value: f"{value / 60:.1f}")


def shown_ms(found: Row | None) -> str:
    """Return the median in processor time, which other work on the machine does not stretch."""
    if found is None:
        return "-"
    return "failed" if "error" in found else f"{found['cpu_ms']:.1f}"


def over_seeds(trainings: Any, key: str, show: Callable[[float], str]) -> str:
    """Return the mean over the seeds, with their standard deviation where there are several."""
    values = [training[key] for training in trainings if key in training]
    if not values:
        return "failed" if trainings else "-"
    spread = f" ± {show(statistics.stdev(values))}" if len(values) > 1 else ""
    return show(statistics.mean(values)) + spread


def errors(row: Row) -> Iterator[tuple[str, str]]:
    """Yield where an architecture failed, and the error's first line."""
    if "error" in row:
        yield "count", row["error"]
    for target, found in row.get("latency", {}).items():
        if "error" in found:
            yield target, found["error"]
    for seed, training in row.get("trainings", {}).items():
        if "error" in training:
            yield f"training with seed {seed}", training["error"]


def told(error: Exception) -> str:
    """Return an error's type and first line."""
    return f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"


def shown_size(size: Size) -> str:
    """Return (height, width) as "HEIGHTxWIDTH"."""
    return f"{size[0]}x{size[1]}"


if __name__ == "__main__":
    main()
