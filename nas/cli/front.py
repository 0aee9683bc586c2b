"""`nas front`: what a search has found."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import rich_click as click

from nas.cli.command import Command, json_option
from nas.cli.output import console, print_json, table
from nas.errors import RunError

if TYPE_CHECKING:
    from nas.front import Front


@click.command(
    cls=Command,
    examples=(
        "nas front results/demo",
        "nas front results/city --json",
        "nas front results/city --plot front.pdf",
        "nas front results/city --confirm 5",
        "nas front results/city --measure",
    ),
)
@click.argument("run", type=click.Path(path_type=Path), help="A run's folder.")
@click.option(
    "--plot",
    type=click.Path(path_type=Path),
    help="Where to draw the front (.png, .svg, .pdf).",
    show_default="RUN/front.png",
)
@click.option(
    "--confirm",
    type=click.IntRange(1),
    metavar="N",
    help="First train the N best again, with two more seeds.",
)
@click.option(
    "--measure",
    is_flag=True,
    help="First measure the latency of those not measured yet, on the run's target.",
)
@json_option
def command(
    run: Path, plot: Path | None, confirm: int | None, *, measure: bool, as_json: bool
) -> None:
    """Print the Pareto front of a run: the networks that no other beats in everything.

    Writes RUN/front.json and a plot. The knee is the network with the best balance: beyond it a
    little more accuracy costs much. One short training is a noisy score: --confirm repeats the best
    ones and marks those that cannot be told apart.
    """
    from nas.front import front

    if confirm is not None:
        from nas.confirm import confirm as train_again

        train_again(run, confirm, say=lambda text: click.echo(text, err=True))
    if measure:
        measure_front(run)
    found = front(run)
    written = write(found, plot)
    if as_json:
        print_json(found.to_dict())
        return
    show(found)
    console().print(f"[dim]{'  '.join(str(path) for path in written)}[/dim]")


def measure_front(folder: Path) -> None:
    """Measure the networks of the front; refused where the run knows no target."""
    from nas.front import front
    from nas.latency.in_search import measure_front as measure

    found = front(folder)
    if found.run.settings.target is None:
        raise RunError(
            f"{folder} has no target: its search asked for no latency; `nas latency` measures any network"
        )
    by_id = {t.architecture_id: t for t in found.trials}
    measure(found.run, [by_id[r.id] for r in found.rows], lambda text: click.echo(text, err=True))


def write(found: Front, plot: Path | None = None) -> tuple[Path, ...]:
    """Write `front.json` and the plot of a front; return where they are."""
    from nas.front_plot import plot as draw

    return (found.write(), draw(found, plot)) if found.rows else (found.write(),)


def show(found: Front) -> None:
    """Print the table of a front."""
    out = console()
    counts = (
        ", ".join(f"{number} {outcome}" for outcome, number in found.counts.items()) or "none yet"
    )
    out.print(
        f"{found.run.folder}: trials: {counts}; {found.dominated} trained networks are dominated"
    )
    if found.rows:
        out.print(table(found.columns(), found.cells()))
        for note in found.notes():
            out.print(note)
    else:
        out.print(f"no network is trained yet; go on with\n  {found.run.resume_command}")
