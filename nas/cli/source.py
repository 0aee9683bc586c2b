"""SOURCE [ID] of evaluate, predict and export: a run and one of its networks, or a file of weights."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import rich_click as click

if TYPE_CHECKING:
    from nas.trained import Trained

F = TypeVar("F", bound=Callable[..., Any])
SUFFIX = ".safetensors"


def trained_arguments(command: F) -> F:
    """Add the arguments SOURCE and ID, and the option `--seed`."""
    seed = click.option(
        "--seed",
        type=int,
        help="Take the weights retrained with this seed.",
        show_default="the lowest",
    )
    pick = click.argument(
        "pick",
        required=False,
        metavar="ID",
        help="In a run: an architecture's id (its start is enough), knee or best.",
    )
    source = click.argument("source", help="A run's folder, or a file weights.safetensors.")
    return source(pick(seed(command)))


def find_trained(source: str, pick: str | None, seed: int | None = None) -> Trained:
    """Return the trained network that the arguments name; raises RunError with the command that makes it."""
    from nas.trained import Trained

    if Path(source).suffix == SUFFIX:
        if pick is not None:
            raise click.UsageError(
                f"{source} is one network already; {pick!r} names a network of a run's folder"
            )
        return Trained.read(source)
    known = [
        folder.name
        for folder in Path(source).glob("retrained/*")
        if folder.name.startswith(pick or "")
    ]
    in_run = (Path(source) / "run.yaml").is_file()
    if len(known) == 1 and (pick is not None or not in_run):
        return Trained.find(source, known[0], seed)
    return Trained.find(source, find_architecture(source, pick or "knee").id, seed)


def find_architecture(run: str, pick: str) -> Any:
    """Return the one architecture of a run that "knee", "best", an id or the start of one names."""
    from nas.front import pick as picks

    chosen = picks(run, pick)
    if len(chosen) != 1:
        raise click.UsageError(f"{pick!r} names {len(chosen)} networks; give one id, knee or best")
    return chosen[0]
