"""`nas latency`: what a network takes on a machine, measured there or predicted from a table of measurements."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from nas.cli.command import Command, input_option, json_option, use_option
from nas.cli.output import console, print_json, table
from nas.errors import LatencyError

if TYPE_CHECKING:
    from nas.latency import Latency
    from nas.latency.table import Table
    from nas.latency.target import Target
    from nas.space import Space

TABLES, MEASURE = "Tables", "Measuring"


@click.command(
    cls=Command,
    examples=(
        "nas latency fpn_resnet18 --input 512x1024",
        "nas latency fcn_resnet18 pspnet_resnet18 --target eager,threads=2,memory_format=channels_last",
        "nas latency --make-table real_time --target onnxruntime",
        "nas latency my_net.yaml --table results/latency/real_time-onnxruntime-512x1024.json",
        "nas latency --plan-table real_time --out board",
        "nas latency --read-times board --host 'Pixel 9, 1 core' --out pixel.json",
    ),
)
@click.argument("architectures", nargs=-1, help="Architecture files, or names of published ones.")
@click.option(
    "--target",
    metavar="RUNTIME[,NAME=VALUE...]",
    help="cpu, cuda (PyTorch there), eager, compiled, onnxruntime, openvino or tensorrt; then device=cuda, "
    "dtype=float16, batch=4, threads=2, memory_format=channels_last.",
    show_default="onnxruntime, one thread; eager where that is not installed",
    panel=MEASURE,
)
@input_option("Input size; that of the table, network or space if left out.", panel=MEASURE)
@click.option(
    "--runs",
    type=click.IntRange(1),
    help="Timed evaluations of each network.",
    show_default="50; 12 for a table",
    panel=MEASURE,
)
@click.option(
    "--table",
    "path",
    type=click.Path(path_type=Path),
    help="Predict from this table as well.",
    panel=TABLES,
)
@click.option(
    "--predict-only",
    is_flag=True,
    help="Do not measure: the table's machine need not be this one.",
    panel=TABLES,
)
@click.option(
    "--make-table",
    metavar="SPACE",
    help="Time networks of a space here; goes on with a file that is there.",
    panel=TABLES,
)
@click.option(
    "--plan-table",
    metavar="SPACE",
    help="Write networks and a list, to be timed elsewhere.",
    panel=TABLES,
)
@click.option(
    "--read-times",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Make a table of a filled list.",
    panel=TABLES,
)
@click.option(
    "--times",
    type=click.Path(path_type=Path),
    help="The filled list.",
    show_default="DIR/times.csv",
    panel=TABLES,
)
@click.option("--host", help="What the list was timed on, for --read-times.", panel=TABLES)
@click.option(
    "--networks",
    type=click.IntRange(10),
    help="Networks of a table.",
    show_default="60; 40 for a list",
    panel=TABLES,
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File of the table, or folder of the plan.",
    panel=TABLES,
)
@use_option
@json_option
def command(
    architectures: tuple[str, ...],
    *,
    use: tuple[Path, ...],  # noqa: ARG001
    as_json: bool,
    **asked: Any,
) -> None:
    """Measure networks on this machine, or make a table that predicts the latency of a whole space.

    Networks take turns with each other and with a small reference network, so that a slow moment of
    the machine hits all alike; the median, the 90th percentile and the fastest run are shown, with
    processor time beside the wall clock. A table holds whole networks that were timed and, where the
    runtime can tell, each of their layers; what it predicts is checked on networks that were held
    out. `nas search --max-latency` makes one by itself, or takes yours with --latency-table.
    """
    jobs = {"make_table": _make, "plan_table": _plan, "read_times": _read}
    chosen = [name for name in jobs if asked[name] is not None]
    if len(chosen) + bool(architectures) != 1:
        options = ", ".join("--" + name.replace("_", "-") for name in jobs)
        raise click.UsageError(f"give architectures to measure, or one of {options}")
    if architectures:
        _measure(architectures, asked, as_json)
    else:
        jobs[chosen[0]](asked, as_json)


def _measure(names: tuple[str, ...], asked: dict[str, Any], as_json: bool) -> None:
    from nas.architecture import load_architecture
    from nas.latency import RUNS, latency

    loaded = [load_architecture(name) for name in names]
    runs = asked["runs"] or RUNS
    with progress("measuring", runs) as told:
        found = latency(
            loaded,
            asked["target"],
            size=asked["size"],
            runs=runs,
            table=asked["path"],
            measure=not asked["predict_only"],
            told=lambda done: told(done, runs),
        )
    if as_json:
        print_json([{"name": name, **asdict(f)} for name, f in zip(names, found, strict=True)])
        return
    _show(names, found)


def _show(names: tuple[str, ...], found: tuple[Latency, ...]) -> None:
    conditions = found[0].conditions
    height, width = conditions.target.size
    out = console()
    out.print(
        f"{conditions.target} at {height}x{width}, batch {conditions.target.batch}, {conditions.target.dtype}, "
        f"{conditions.target.threads} thread(s), on {conditions.host}",
        markup=False,
    )
    columns = [
        "network",
        ">median ms",
        ">p90",
        ">fastest",
        ">processor",
        ">x reference",
        ">repeat error",
    ]
    columns += [">predicted ms", ">90 % interval", ">in the table"] if found[0].predicted else []
    out.print(table(columns, [_cells(n, f) for n, f in zip(names, found, strict=True)]))
    distrusted = [
        n for n, f in zip(names, found, strict=True) if f.measured and f.measured.is_distrusted
    ]
    if distrusted and conditions.target.threads == 1:
        out.print(
            f"the machine was busy with other work ({', '.join(distrusted)}): trust the fastest run, or measure again"
        )


def _cells(name: str, found: Latency) -> list[str]:
    m, p = found.measured, found.predicted
    cells = [name, *["-"] * 6]
    if m is not None:
        cpu = f"{m.cpu_ms:.2f}" if m.cpu_ms else "-"
        cells[1:] = [
            f"{m.median_ms:.2f}",
            f"{m.p90_ms:.2f}",
            f"{m.min_ms:.2f}",
            cpu,
            f"{m.relative:.2f}",
            f"{m.spread:.1%}",
        ]
    if p is not None:
        mark = "" if p.measured > 0.5 else "~"
        cells += [f"{mark}{p.ms:.2f}", f"{p.low:.2f} - {p.high:.2f}", f"{p.measured:.0%}"]
    return cells


def _make(asked: dict[str, Any], as_json: bool) -> None:
    from nas.latency.make_table import NETWORKS, RUNS, Effort, make_table

    space, target = _space(asked["make_table"]), _target(asked, asked["make_table"])
    height, width = target.size
    path = asked["out"] or Path("results/latency") / f"{space.name}-{target}-{height}x{width}.json"
    effort = Effort(networks=asked["networks"] or NETWORKS, runs=asked["runs"] or RUNS)
    with progress(f"timing networks of {space.name}", effort.networks) as told:
        made = make_table(space, target, path, effort=effort, told=told)
    _report(made, path, as_json)


def _plan(asked: dict[str, Any], as_json: bool) -> None:
    from nas.latency.make_table import Effort
    from nas.latency.plan_table import NETWORKS, plan_table

    space, target = _space(asked["plan_table"]), _target(asked, asked["plan_table"])
    folder = asked["out"] or Path("results/latency") / f"{space.name}-plan"
    effort = Effort(networks=asked["networks"] or NETWORKS)
    with progress(f"writing networks of {space.name}", effort.networks) as told:
        written = plan_table(space, target, folder, effort=effort, told=told)
    if as_json:
        print_json({"list": str(written)})
        return
    console().print(
        f"{written}: time each file on the board (batch {target.batch}), fill in `milliseconds`, then\n"
        f"  nas latency --read-times {folder} --host NAME --out TABLE.json",
        markup=False,
    )


def _read(asked: dict[str, Any], as_json: bool) -> None:
    from nas.latency.plan_table import read_times

    if not asked["host"] or not asked["out"]:
        raise click.UsageError(
            "--read-times needs --host (what the networks were timed on) and --out (the table's file)"
        )
    if asked["out"].exists():
        raise LatencyError(f"{asked['out']} is already there; name another file (--out)")
    made = read_times(asked["read_times"], asked["host"], asked["times"])
    _report(made, asked["out"], as_json, save=True)


def _report(made: Table, path: Path, as_json: bool, *, save: bool = False) -> None:
    """Fit a predictor, and say how far off it was on networks that had no part in its fit; keep the file if asked."""
    from nas.latency.predictor import Predictor

    errors = Predictor(made).errors
    if save:
        made.save(path)
    if as_json:
        print_json({"table": str(path), "networks": len(made.networks), "held_out": asdict(errors)})
        return
    repeat = sorted(t.spread for t in made.networks if t.spread is not None)
    noise = f"; the measurement repeats to {repeat[len(repeat) // 2]:.1%}" if repeat else ""
    console().print(
        f"{path}: {len(made.networks)} networks on {made.conditions.host}\n"
        f"held-out error: median {errors.median:.1%}, nine in ten within {errors.p90:.1%}, Kendall's tau "
        f"{errors.kendall:.3f}{noise}\n"
        f"sum over leaves alone: median {errors.additive_median:.1%}, Kendall's tau {errors.additive_kendall:.3f}",
        markup=False,
    )


def _space(name: str) -> Space:
    from nas.space import load_space

    return load_space(name)


def _target(asked: dict[str, Any], name: str) -> Target:
    from nas.latency.target import Target, default_target

    shape = _space(name).tree.get("input")
    own = (shape[1], shape[2]) if isinstance(shape, list) and len(shape) == 3 else None
    size = asked["size"] or own
    if size is None:
        raise click.UsageError(f"the space {name} names no input size; give one (--input)")
    return Target.of(asked["target"], size) if asked["target"] else default_target(size)


@contextmanager
def progress(what: str, total: int) -> Iterator[Any]:
    """Show a bar with the time left on standard error; yield what is told (done, total)."""
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console(stderr=True)) as bar:
        task = bar.add_task(what, total=total)
        yield lambda done, of: bar.update(task, completed=done, total=of)
