"""`nas export`: a file for other programs, checked by running it."""

from __future__ import annotations

import logging
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from nas.cli.command import Command, input_option, json_option, use_option
from nas.cli.output import console, print_json, table
from nas.cli.source import find_trained, trained_arguments

if TYPE_CHECKING:
    from nas.export import Exported

FORMATS = ("onnx", "pt2")


@click.command(
    cls=Command,
    examples=(
        "nas export results/demo knee",
        "nas export results/city 3f9c0a1b2c3d --format onnx --input 720x1280 --out city.onnx",
        "nas export results/city best --format pt2 --fixed-size",
    ),
)
@trained_arguments
@click.option(
    "--format",
    "kind",
    type=click.Choice(FORMATS),
    default="onnx",
    help="ONNX, or torch.export's own file.",
)
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="File to write.",
    show_default="RUN/export/ID.onnx",
)
@input_option("Size that the file is checked and timed at; the one of the training if left out.")
@click.option("--fixed-size", is_flag=True, help="Fix height and width; the batch stays dynamic.")
@click.option("--overwrite", is_flag=True, help="Replace a file that is already there.")
@click.option(
    "--images", type=click.IntRange(1), default=4, help="Real images to compare on.", panel="Checks"
)
@click.option(
    "--label-tolerance",
    type=float,
    default=1e-3,
    help="Share of pixels that may get another label.",
    panel="Checks",
)
@click.option(
    "--logit-tolerance",
    type=float,
    default=1e-3,
    help="Difference of logits, of the largest logit.",
    panel="Checks",
)
@click.option(
    "--runs",
    type=click.IntRange(0),
    default=20,
    help="Timed evaluations; 0 times nothing.",
    panel="Checks",
)
@use_option
@json_option
def command(
    source: str,
    pick: str | None,
    seed: int | None,
    kind: str,
    out: Path | None,
    *,
    as_json: bool,
    **asked: Any,
) -> None:
    """Write a retrained network to a file, and prove that the file does what the network does.

    The file is run and compared with PyTorch on images of the data set's reporting split, at the
    training's input size and, where height and width are dynamic, at an odd one with another batch;
    the command fails, and leaves no file, if they differ by more than the tolerances. How to prepare
    an image (mean, std, size), class names, palette and the architecture are in the file's metadata.
    """
    from nas.export import Tolerance, export

    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    trained = find_trained(source, pick, seed)
    path = out or default_path(source, trained.architecture.id, kind)
    exported = export(
        trained.architecture,
        trained.weights,
        trained.data,
        path,
        format=kind,
        size=asked["size"] or trained.size,
        fixed_size=asked["fixed_size"],
        images=asked["images"],
        tolerance=Tolerance(asked["label_tolerance"], asked["logit_tolerance"]),
        runs=asked["runs"],
        overwrite=asked["overwrite"],
    )
    if as_json:
        print_json({**asdict(exported), "path": str(exported.path)})
    else:
        show(exported)


def default_path(source: str, identity: str, kind: str) -> Path:
    """Return RUN/export/ID.SUFFIX, or the same name beside a file of weights."""
    place = Path(source)
    folder = place / "export" if place.is_dir() else place.parent
    return folder / f"{identity}.{kind}"


def show(exported: Exported) -> None:
    """Print where the file is, what it takes, how exactly it agrees and how fast it is."""
    out = console()
    height, width = exported.size
    takes = (
        f"{height}x{width} only ({exported.fixed})" if exported.fixed else "any height and width"
    )
    out.print(
        f"{exported.path}  [dim]{exported.format}, {exported.path.stat().st_size / 1e6:.1f} MB[/dim]"
    )
    out.print(f"takes any batch, {takes}", markup=False)
    for check in exported.checks:
        out.print(f"equal to PyTorch on {check}")
    rows = [
        (
            name,
            f"{t.median_ms:.1f}",
            f"{t.p90_ms:.1f}",
            f"cpu, {exported.threads} threads, batch 1, {t.runs} runs",
        )
        for name, t in exported.latency.items()
    ]
    if rows:
        out.print(
            table(("latency", ">median ms", ">p90 ms", f"at {height}x{width}, taking turns"), rows)
        )
