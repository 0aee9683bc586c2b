"""Options of `nas search --strategy differentiable`: the supernet's length, how options are mixed, what to aim at."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click

F = TypeVar("F", bound=Callable[..., Any])
PANEL = "Differentiable search"
PLAIN = {
    "supernet_epochs": "epochs",
    "supernet_workers": "workers",
    "snapshots": "snapshots",
    "form": "form",
    "order": "order",
}
"""Options that are fields of a schedule as they are."""
TARGETS = ("macs", "params", "latency")


def differentiable_options(command: F) -> F:
    """Add the options; `make_supernet` reads them."""
    options = (
        click.option(
            "--supernet-epochs",
            type=click.IntRange(1),
            panel=PANEL,
            help="Epochs of the supernet, its warm-up included.",
            show_default="40, or what fits the time",
        ),
        click.option(
            "--supernet-workers",
            type=click.IntRange(1),
            panel=PANEL,
            help="Processes that train the supernet together, each on its part of every batch.",
            show_default="1",
        ),
        click.option(
            "--snapshots",
            type=click.IntRange(1),
            panel=PANEL,
            help="Architectures that become trials, at even distances after the warm-up.",
            show_default="4",
        ),
        click.option(
            "--form",
            type=click.Choice(("softmax", "gumbel")),
            panel=PANEL,
            help="All options mixed in each step, or one sampled path: faster, and little memory.",
            show_default="softmax",
        ),
        click.option(
            "--order",
            type=click.Choice(("1", "2")),
            panel=PANEL,
            help="2 looks a step of the weights ahead (DARTS): slower.",
            show_default="1",
        ),
        *(
            click.option(
                f"--target-{name}",
                multiple=True,
                metavar=metavar,
                panel=PANEL,
                help=f"End at {what}; several: one after another from one warm supernet, for a front.",
            )
            for name, metavar, what in (
                ("macs", "COUNT", "this many multiply-adds, e.g. 2G"),
                ("params", "COUNT", "this many parameters, e.g. 3M"),
                ("latency", "TIME", "this latency, e.g. 20ms"),
            )
        ),
        click.option(
            "--mixing",
            type=click.Path(path_type=Path),
            panel=PANEL,
            help="YAML file with fields of the mixing: warmup, lr, temperature, entropy, ...",
        ),
    )
    for option in reversed(options):
        command = option(command)
    return command


def make_supernet(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was asked of the supernet as fields of a schedule; nothing where nothing was said."""
    from nas.units import parse_cost

    said = {field: asked[name] for name, field in PLAIN.items() if asked[name] is not None}
    if "order" in said:
        said["order"] = int(said["order"])
    sweep = {n: [parse_cost(n, t) for t in asked[f"target_{n}"]] for n in TARGETS}
    given = _read(asked["mixing"]) | said
    if kept := {name: values for name, values in sweep.items() if values}:
        given["sweep"] = kept
    return given


def _read(file: Path | None) -> dict[str, Any]:
    """Return the fields of a file; raises RecipeError naming it."""
    if file is None:
        return {}
    from nas.errors import RecipeError, SpaceError
    from nas.language.document import read_file

    try:
        root = read_file(file)
    except SpaceError as error:
        raise RecipeError(str(error)) from error
    if not isinstance(root.data, dict):
        raise RecipeError(
            f"{root.where}: expected fields of a mixing (`warmup: 0.5`), got {root.plain()!r}"
        )
    return {str(key): value.plain() for key, value in root.data.items()}
