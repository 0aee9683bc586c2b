"""`nas retrain`: a chosen architecture from scratch, on the whole training split."""

from __future__ import annotations

import shlex
import statistics
import sys
from collections.abc import Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from nas.cli.app import INTERRUPTED
from nas.cli.command import Command, device_option, input_option, pick_device, use_option
from nas.cli.epochs import shown_epochs
from nas.cli.output import console, table
from nas.cli.recipe import Training, make_recipe, recipe_options
from nas.problem import parse_budget, show_seconds
from nas.units import show_count

if TYPE_CHECKING:
    from nas.architecture import Architecture
    from nas.recipe import Recipe


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be trained, on what, and into which run's folder."""

    architectures: tuple[Architecture, ...]
    folder: Path
    data: str
    size: tuple[int, int]
    recipe: Recipe

    def place(self, architecture: Architecture, seed: int) -> Path:
        """Where one training lies."""
        return self.folder / "retrained" / architecture.id / f"seed-{seed}"


@dataclass(frozen=True, slots=True)
class How:
    """How each training is to run."""

    budget_seconds: float | None
    resume: bool
    device: str
    workers: int


@click.command(
    cls=Command,
    examples=(
        "nas retrain results/demo knee",
        "nas retrain results/city knee --epochs 200 --seed 0 --seed 1 --seed 2",
        "nas retrain results/city front --budget 2h",
        "nas retrain deeplabv3plus_resnet18 --data camvid:/data/camvid --input 360x480 --epochs 200",
        "nas retrain fast_scnn --data camvid:/data/camvid --recipe paper",
        "nas retrain results/city knee --workers 4 --device cuda",
        "nas retrain results/city knee --resume",
    ),
)
@click.argument(
    "source", help="A run's folder, an architecture file, or the name of a published architecture."
)
@click.argument(
    "pick",
    required=False,
    metavar="[ID]",
    help="In a run: an id or its start, knee, best, or front (all).",
)
@click.option("--data", help="Data set; the run's if left out (needed for a file or name).")
@input_option("Input size; the run's, or the architecture's own, if left out.")
@click.option(
    "--seed",
    "seeds",
    type=int,
    multiple=True,
    default=(0,),
    help="Once per training that you want.",
)
@click.option(
    "--budget",
    help="Time for each training (2h, 30m): the epochs are chosen to fit.",
    panel="Training",
)
@recipe_options
@click.option(
    "--workers",
    type=click.IntRange(1),
    default=1,
    panel="Training",
    help="Processes that share each batch: on GPUs one on each, else of the cores.",
)
@click.option(
    "--run",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder for the trainings of a file or name.",
    show_default="results/NAME",
)
@click.option("--resume", is_flag=True, help="Go on with trainings that were interrupted.")
@device_option
@use_option
def command(
    source: str,
    pick: str | None,
    *,
    seeds: tuple[int, ...],
    budget: str | None,
    **asked: Any,
) -> None:
    """Train a network from scratch on the whole training split, then score it once.

    Data, input size and recipe are those of the run unless told otherwise. The weights are those of
    the last epoch: nothing is chosen on the reporting split. Each epoch leaves a checkpoint, from
    which --resume goes on to the same result as an uninterrupted training. With --workers, or started
    by torchrun, several processes train together; that changes how long it takes and not the result.
    """
    if asked["epochs"] and budget:
        raise click.UsageError("--epochs and --budget both say how long to train; give one of them")
    order = find_order(source, pick, asked)
    seconds = parse_budget(budget).seconds if budget else None
    if budget and seconds is None:
        raise click.UsageError(
            f"--budget {budget!r}: a training takes a time (2h, 30m), or --epochs"
        )
    how = How(seconds, asked["resume"], asked["device"], asked["workers"])
    scores = [
        (architecture.id, _train(order, architecture, seed, how))
        for architecture in order.architectures
        for seed in seeds
    ]
    if _shows():
        _print(order, scores)


def find_order(source: str, pick: str | None, asked: dict[str, Any]) -> Order:
    """Return what the arguments SOURCE and ID name, with the options on top; raises click.UsageError."""
    if (Path(source) / "run.yaml").is_file():
        return _order_of_run(source, pick or "knee", asked)
    if pick is not None:
        raise click.UsageError(f"{source} is not a run's folder, so {pick!r} names nothing in it")
    if asked["data"] is None:
        raise click.UsageError(
            "--data is needed to train an architecture by file or name, e.g. --data folder:DIR"
        )
    from nas.architecture import load_architecture
    from nas.registry import domain

    architecture = load_architecture(source)
    size = asked["size"] or architecture.input[1:]
    data = domain().open_data(asked["data"])
    architecture = architecture.with_classes(len(data.classes)).with_input((3, *size))
    folder = asked["folder"] or Path("results") / Path(source).stem
    recipe = make_recipe(asked, training=Training(source, len(data.split("train")), size))
    return Order((architecture,), folder, asked["data"], size, recipe)


def _order_of_run(source: str, pick: str, asked: dict[str, Any]) -> Order:
    from nas.front import pick as picks
    from nas.registry import domain
    from nas.run import Run

    settings = Run.open(source).settings
    data, size = asked["data"] or settings.data, asked["size"] or settings.size
    images = len(domain().open_data(data).split("train"))
    recipe = make_recipe(asked, dict(settings.recipe), Training(source, images, size))
    return Order(tuple(picks(source, pick)), asked["folder"] or Path(source), data, size, recipe)


def _train(order: Order, architecture: Architecture, seed: int, how: How) -> dict[str, Any]:
    """Train one architecture with one seed; Ctrl-C ends the process with the command that goes on."""
    from nas.driver import Interrupt
    from nas.retrain import retrain
    from nas.train import Stopped

    folder = order.place(architecture, seed)
    interrupt = Interrupt()
    shown = shown_epochs(f"{architecture.id} seed {seed}") if _shows() else nullcontext(_silent)
    with interrupt.installed(), shown as show:
        try:
            return retrain(
                architecture,
                order.data,
                folder=folder,
                recipe=order.recipe,
                size=order.size,
                seed=seed,
                budget_seconds=how.budget_seconds,
                resume=how.resume and folder.exists(),
                device=pick_device(how.device),
                workers=how.workers,
                progress=show,
                stop=lambda: interrupt.asked,
                cache=order.folder / "cache",
            )
        except Stopped:
            again = [*sys.argv[1:], *(() if how.resume else ("--resume",))]
            if _shows():
                click.echo(f"interrupted; go on with\n  nas {shlex.join(again)}", err=True)
            sys.exit(INTERRUPTED)


def _shows() -> bool:
    """Return whether this process is to print anything: of those that torchrun starts, the first."""
    from nas.parallel.join import follows

    return not follows()


def _silent(_: Mapping[str, Any]) -> None:
    """Show nothing."""


def _print(order: Order, scores: list[tuple[str, dict[str, Any]]]) -> None:
    """Print each training's score, and mean and spread where there are several seeds of a network."""
    made = table(("id", ">seed", ">mIoU", ">epochs", ">time", ">MACs", ">params"), ())
    for identity, score in scores:
        facts = (
            show_seconds(score["seconds"]),
            show_count(score["macs"]),
            show_count(score["params"]),
        )
        made.add_row(
            identity,
            str(score["seed"]),
            f"{score['miou']:.4f}",
            str(score["epochs"]),
            *facts,
        )
    out = console()
    out.print(made)
    for identity, score in scores:
        weights = order.folder / "retrained" / identity / f"seed-{score['seed']}"
        click.echo(weights / "weights.safetensors")
    for identity in dict.fromkeys(identity for identity, _ in scores):
        values = [score["miou"] for other, score in scores if other == identity]
        if len(values) > 1:
            spread = statistics.stdev(values)
            out.print(
                f"{identity}: mIoU {statistics.mean(values):.4f} +- {spread:.4f} over {len(values)} seeds"
            )
