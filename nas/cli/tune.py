"""`nas tune`: a better recipe to retrain a chosen architecture by, found on the training split."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from nas.cli.app import INTERRUPTED
from nas.cli.command import Command, input_option, json_option, use_option
from nas.cli.output import console, print_json, table
from nas.cli.pool import pool_options
from nas.cli.recipe import recipe_options
from nas.cli.retrain import Order, find_order
from nas.problem import parse_budget, show_seconds

if TYPE_CHECKING:
    from nas.run import Settings
    from nas.tune import Tuned

WHAT, HOW = "What varies", "How to tune"


@click.command(
    cls=Command,
    examples=(
        "nas tune results/city knee",
        "nas tune results/city knee --epochs 60 --samples 30 --budget 8h --confirm 3",
        "nas tune results/city 3fa9 --vary lr=1e-4..1e-2 --vary crop=256x512,384x768 --vary loss.dice=0..1",
        "nas tune results/city knee --vary lr --vary optimizer=adamw,sgd --vary batch=4,8,16",
        "nas tune results/city knee --scheduler pbt --samples 8 --workers 2",
        "nas tune fast_scnn --data camvid:/data/camvid --recipe paper --epochs 60",
        "nas tune results/city knee --address auto --gpus-per-trial 0.5",
        "nas tune results/city knee --epochs 60 --resume",
    ),
)
@click.argument(
    "source", help="A run's folder, an architecture file, or the name of a published architecture."
)
@click.argument(
    "pick", required=False, metavar="[ID]", help="In a run: an id or its start, knee or best."
)
@click.option("--data", help="Data set; the run's if left out (needed for a file or name).")
@input_option("Input size; the run's, or the architecture's own, if left out.")
@click.option(
    "--vary",
    multiple=True,
    metavar="FIELD[=VALUES]",
    help="A field of the recipe that varies, once per field: lr=1e-4..1e-2 (a range), crop=96x128,128x192 (a list), "
    "loss.dice=0..1 (the weight of a loss in the sum), lr (a range around the recipe's own).",
    show_default="lr, weight_decay, crop, loss.dice",
    panel=WHAT,
)
@click.option(
    "--scheduler",
    type=click.Choice(("asha", "pbt")),
    default="asha",
    help="asha stops what scores worst early; in pbt the worst go on from the best, with values nearby.",
    panel=HOW,
)
@click.option(
    "--samples",
    type=click.IntRange(1),
    default=12,
    help="Recipes to try beside the given one.",
    panel=HOW,
)
@click.option(
    "--budget",
    metavar="TIME",
    help="Time for all of it (2h, 30m); the given recipe trains to its end in any case.",
    panel=HOW,
)
@click.option(
    "--seed", type=int, default=0, help="Seed of the trainings and of what is drawn.", panel=HOW
)
@click.option(
    "--confirm",
    type=click.IntRange(0),
    default=0,
    metavar="SEEDS",
    help="Train the given and the best recipe with so many further seeds, after the budget.",
    panel=HOW,
)
@recipe_options
@pool_options(
    "training",
    {
        "workers": "1; with an address as many as fit",
        "cpus_per_trial": "an equal share; with an address 1",
        "gpus_per_trial": "1 where this machine has one; with an address 0",
        "retries": "3",
    },
)
@click.option(
    "--run",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder for the tuning of a file or name.",
    show_default="results/NAME",
)
@click.option("--resume", is_flag=True, help="Go on with a tuning that was interrupted or killed.")
@click.option("--overwrite", is_flag=True, help="Begin anew where there is a tuning already.")
@json_option
@use_option
def command(
    source: str,
    pick: str | None,
    *,
    budget: str | None,
    resume: bool,
    overwrite: bool,
    as_json: bool,
    **asked: Any,
) -> None:
    """Tune the recipe by which a network is retrained, with Ray Tune, and compare with the one that you have.

    The given recipe (the run's, unless told otherwise) and others near it train for the same number of
    epochs from the same seed, on the images that a search trains on, and are scored on those it holds
    back: the reporting split is not opened. What is found lies in RUN/tuned/ID, with recipe.yaml for
    `nas retrain --recipe`. Scores of one recipe spread by points from seed to seed: --confirm 3 tells.
    """
    from nas.tune import tune

    if resume and overwrite:
        raise click.UsageError("--resume goes on, --overwrite begins anew; give one of them")
    order = find_order(source, pick, asked)
    if len(order.architectures) != 1:
        raise click.UsageError(f"{pick!r} names several networks; give one id, knee or best")
    settings = _settings(source)
    same = ("vary", "scheduler", "samples", "seed", "confirm")
    try:
        found = tune(
            order.architectures[0],
            order.data,
            folder=order.folder / "tuned" / order.architectures[0].id,
            recipe=order.recipe,
            size=order.size,
            budget_seconds=_seconds(budget),
            split=settings.split if settings and asked["data"] is None else None,
            split_seed=settings.seed if settings else 0,
            pool=_pool(asked),
            plugins=[*(settings.plugins if settings else ()), *asked["use"]],
            cache=order.folder / "cache",
            resume=resume,
            overwrite=overwrite,
            progress=not as_json,
            **{name: asked[name] for name in same},
        )
    except KeyboardInterrupt:
        _interrupted()
    if found.ended == "interrupted":
        _interrupted()
    _print(found, _retrain(source, order, asked), as_json)


def _settings(source: str) -> Settings | None:
    """Return what the run asked for, None where the source is no run."""
    from nas.run import Run

    return Run.open(source).settings if (Path(source) / "run.yaml").is_file() else None


def _seconds(budget: str | None) -> float | None:
    if budget is None:
        return None
    found = parse_budget(budget)
    if found.seconds is None or found.trials is not None:
        raise click.UsageError(
            f"--budget {budget!r}: a tuning takes a time (2h, 30m), and --samples"
        )
    return found.seconds


def _pool(asked: dict[str, Any]) -> Any:
    from nas.pool import Pool

    names = ("workers", "cpus_per_trial", "gpus_per_trial", "address", "retries")
    return Pool(executor="ray", **{name: asked[name] for name in names})


def _interrupted() -> None:
    again = [a for a in sys.argv[1:] if a not in {"--resume", "--overwrite"}]
    click.echo(f"interrupted; go on with\n  nas {shlex.join([*again, '--resume'])}", err=True)
    sys.exit(INTERRUPTED)


def _print(found: Tuned, retrain: list[str], as_json: bool) -> None:
    """Print the table of trainings, the comparison, and the command that uses the recipe."""
    content = json.loads((found.folder / "trainings.json").read_text(encoding="utf-8"))
    use = shlex.join([*retrain, "--recipe", str(found.recipe_file)])
    if as_json:
        result = json.loads((found.folder / "result.json").read_text(encoding="utf-8"))
        print_json({**result, "retrain": use, "trainings": content["trainings"]})
        return
    from nas.tuning.vary import show_values

    made = table((">training", "for", "ended", ">epochs", ">mIoU", ">time", "values"), ())
    for row in content["trainings"]:
        miou = "-" if row["miou"] is None else f"{row['miou']:.4f}"
        values = row["path"][-1]["values"] if row["path"] else row["values"]
        ended = f"{row['state']}: {row['reason']}" if row["reason"] else row["state"]
        facts = (str(row["epoch"]), miou, show_seconds(row["seconds"]), show_values(values))
        made.add_row(str(row["number"]), row["why"], ended, *facts)
    console().print(made)
    if found.ended == "budget":
        click.echo("the budget was used before all trainings had come to their end")
    for line in found.lines:
        click.echo(line)
    click.echo(f"{found.recipe_file}\nretrain by it with\n  {use}")


def _retrain(source: str, order: Order, asked: dict[str, Any]) -> list[str]:
    """Return the command that retrains the network, but for the recipe."""
    is_run = (Path(source) / "run.yaml").is_file()
    command = ["nas", "retrain", source, *([order.architectures[0].id] if is_run else [])]
    if asked["data"] is not None:
        command += ["--data", order.data]
    if asked["size"] is not None:
        command += ["--input", "x".join(map(str, order.size))]
    return command
