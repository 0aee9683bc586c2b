"""`nas search`: networks for your images, within your limits and your time."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from nas.cli.app import FAILED, INFEASIBLE, INTERRUPTED
from nas.cli.command import Command, input_option, use_option
from nas.cli.differentiable import differentiable_options, make_supernet
from nas.cli.pool import pool_options
from nas.cli.recipe import FIELDS, make_recipe, recipe_options
from nas.strategies import STRATEGIES

if TYPE_CHECKING:
    from nas.run import Run

OBJECTIVES = ("miou", "macs", "params", "memory", "latency")
WHAT, LIMITS, HOW, GO_ON = "What to search", "Limits and budget", "How to search", "Run"
SAME = (
    "data",
    "max_macs",
    "max_params",
    "max_memory",
    "max_latency",
    "target",
    "latency_table",
    "strategy",
    "size",
    "split",
    "seed",
    "stall",
    "device",
    "start_from",
    "fix",
    "resume",
    "storage",
    "executor",
    "workers",
    "cpus_per_trial",
    "gpus_per_trial",
    "address",
    "retries",
)


@click.command(
    cls=Command,
    examples=(
        "nas search tiny --budget 10trials",
        "nas search real_time --data camvid:/data/camvid --input 360x480 --max-macs 5G --budget 8h",
        "nas search real_time --data folder:my_images --max-macs 2G --max-params 3M --budget 2h --dry-run",
        "nas search my_space.yaml --use my_block.py --data folder:my_images --budget 30m --budget 50trials",
        "nas search real_time --data folder:my_images --max-latency 20ms --objective miou --objective latency",
        "nas search auto_deeplab --strategy differentiable --data camvid:/data/camvid --target-macs 2G --budget 8h",
        "nas search real_time --data folder:my_images --executor processes --workers 4 --budget 8h",
        "nas search real_time --data camvid:/shared/camvid --address auto --gpus-per-trial 0.5 --budget 40gpu-hours",
        "nas search table:scores.npz --strategy random --executor processes --workers 8 --budget 1000trials",
        "nas search --resume results/real_time --budget 12h",
    ),
)
@click.argument(
    "space",
    required=False,
    help="A space by name or file, or table:FILE.npz (docs/load.md); with --resume it has to be the run's.",
)
@click.option(
    "--data",
    help="camvid:DIR, cityscapes:DIR, folder:DIR, or street (built in).",
    show_default="street",
    panel=WHAT,
)
@input_option("Input size; the space's own if left out.", panel=WHAT)
@click.option(
    "--objective",
    "objectives",
    type=click.Choice(OBJECTIVES),
    multiple=True,
    help="What to improve; several make a front.",
    show_default="miou, macs",
    panel=WHAT,
)
@click.option(
    "--split",
    help="Score trials on this split.",
    show_default="a held-back part of train",
    panel=WHAT,
)
@click.option(
    "--max-macs", metavar="COUNT", help="At most so many multiply-adds, e.g. 2G.", panel=LIMITS
)
@click.option(
    "--max-params", metavar="COUNT", help="At most so many parameters, e.g. 3M.", panel=LIMITS
)
@click.option(
    "--max-memory",
    metavar="BYTES",
    help="At most so much memory for activations when one image is evaluated, e.g. 200MB.",
    panel=LIMITS,
)
@click.option(
    "--max-latency",
    metavar="TIME",
    help="At most so long for one evaluation on the target, e.g. 20ms; predicted, and measured in the end.",
    panel=LIMITS,
)
@click.option(
    "--target",
    metavar="RUNTIME[,NAME=VALUE...]",
    help="What latency is of, e.g. cuda or onnxruntime,threads=2; see `nas latency --help`.",
    show_default="that of the table; onnxruntime on one thread of this machine",
    panel=LIMITS,
)
@click.option(
    "--latency-table",
    type=click.Path(path_type=Path),
    help="Predict latency from this table.",
    show_default="one made now, once for this space and machine",
    panel=LIMITS,
)
@click.option(
    "--budget",
    multiple=True,
    metavar="TIME|TRIALS|GPU-HOURS",
    help="30m, 8h, 50trials or 40gpu-hours; several: the first reached ends the search.",
    show_default="30m",
    panel=LIMITS,
)
@click.option(
    "--stall",
    type=click.IntRange(1),
    help="End when the front has not improved for so many trials.",
    panel=LIMITS,
)
@click.option(
    "--fix",
    multiple=True,
    metavar="PATH=VALUE",
    help="Close a choice of the space; '*' in the path stands for anything, first and last for those options.",
    panel=WHAT,
)
@click.option(
    "--strategy",
    type=click.Choice(tuple(STRATEGIES)),
    help="What to try next; differentiable trains one supernet of the whole space.",
    show_default="tpe",
    panel=HOW,
)
@click.option(
    "--start-from",
    multiple=True,
    metavar="ARCH",
    help="Try this architecture first (name or file), without auxiliary heads that the space lacks.",
    panel=HOW,
)
@click.option(
    "--seed", type=int, help="Same seed and trial budget: same trials.", show_default="0", panel=HOW
)
@click.option(
    "--device", help="cpu, cuda, cuda:1.", show_default="a GPU where there is one", panel=HOW
)
@click.option(
    "--executor",
    type=click.Choice(("local", "processes", "ray")),
    help="local: one trial at a time; processes: several on this machine; ray: on a Ray cluster.",
    show_default="local, or what the options below are for",
    panel="Where trials run",
)
@pool_options(
    "trial",
    {
        "workers": "as many as fit",
        "cpus_per_trial": "processes: an equal share; ray: 1",
        "gpus_per_trial": "processes: an equal share; ray: 0",
        "retries": "1; ray: 3",
    },
)
@recipe_options
@differentiable_options
@click.option(
    "--run",
    type=click.Path(path_type=Path),
    help="Folder for a new run.",
    show_default="results/SPACE",
    panel=GO_ON,
)
@click.option(
    "--resume",
    type=click.Path(path_type=Path),
    help="Go on with the run in this folder.",
    panel=GO_ON,
)
@click.option(
    "--storage",
    metavar="URL",
    help="Keep the study in this database: postgresql://USER@HOST/NAME, mysql://USER@HOST/NAME, sqlite:////FILE.db. "
    "The password is better in $NAS_STORAGE_PASSWORD; it is never written down.",
    show_default="study.db in the run's folder",
    panel=GO_ON,
)
@click.option(
    "--dry-run",
    is_flag=True,
    help="Stop after the pre-flight: checks, time per trial, trials that fit.",
    panel=GO_ON,
)
@click.option("--quiet", is_flag=True, help="Show no progress.", panel=GO_ON)
@use_option
def command(space: str | None, *, use: tuple[Path, ...], **asked: Any) -> None:
    """Search a space for networks that nothing else beats in accuracy and cost at once.

    Each trial trains one architecture for a few epochs and scores it on images that it was not
    trained on, never on the reporting split. Architectures over a limit are refused from counted
    costs, before training, and cost no budget; under tight limits they are repaired. Ctrl-C ends the
    search cleanly; what was interrupted, however hard, goes on with --resume.
    """
    from nas.search import search

    if space is None and asked["resume"] is None:
        raise click.UsageError("give a space (`nas spaces` lists them), or --resume RUN")
    given = {name: asked[name] for name in SAME}
    run = search(
        space,
        **given,
        objectives=asked["objectives"] or None,
        budget=asked["budget"],
        recipe=_recipe(asked),
        supernet=make_supernet(asked) or None,
        plugins=use,
        run=asked["run"],
        dry_run=asked["dry_run"],
        progress=not asked["quiet"],
    )
    _finish(run)


def _recipe(asked: dict[str, Any]) -> Any:
    """Return the recipe that was asked for, None where nothing was said of it."""
    said = asked["recipe"] is not None or any(asked[name] is not None for name in FIELDS)
    return make_recipe(asked) if said else None


def _finish(run: Run) -> None:
    """Say what to do next; exit with the code that says how the search ended."""
    if run.ended == "dry run":
        return
    if run.ended == "interrupted":
        click.echo(f"go on with\n  {run.resume_command}", err=True)
        sys.exit(INTERRUPTED)
    trained = any(trial.values for trial in run.trials())
    if not trained:
        click.echo(
            f"no network was trained within the limits; {run.folder}/log.jsonl says why", err=True
        )
        sys.exit(FAILED if run.ended == "failing" else INFEASIBLE)
    click.echo(
        f"look at the front, then retrain a network of it:\n  nas front {run.folder}\n  nas retrain {run.folder} knee"
    )
