"""Options that say where trials or trainings run, and what each one gets: fields of `nas.pool.Pool`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

import rich_click as click

F = TypeVar("F", bound=Callable[..., Any])


def pool_options(what: str, defaults: Mapping[str, str]) -> Callable[[F], F]:
    """Return the options for a command that runs many of `what` ("trial"); `defaults` say what is if one is left out.

    They are `workers`, `cpus_per_trial`, `gpus_per_trial` and `retries`; and `address`, with one default for all.
    """
    panel = f"Where {what}s run"
    options = (
        click.option(
            "--workers",
            "--max-concurrent",
            "workers",
            type=click.IntRange(1),
            metavar="N",
            help=f"At most so many {what}s at once.",
            show_default=defaults["workers"],
            panel=panel,
        ),
        click.option(
            "--cpus-per-trial",
            type=click.FloatRange(0, min_open=True),
            metavar="N",
            help=f"Processors that a {what} gets, and the number of its threads.",
            show_default=defaults["cpus_per_trial"],
            panel=panel,
        ),
        click.option(
            "--gpus-per-trial",
            type=click.FloatRange(0),
            metavar="N",
            help=f"GPUs that a {what} gets; 0.5 puts two {what}s on one.",
            show_default=defaults["gpus_per_trial"],
            panel=panel,
        ),
        click.option(
            "--address",
            help="A running Ray cluster: auto (the one on this machine) or HOST:PORT.",
            show_default="a Ray of its own on this machine",
            panel=panel,
        ),
        click.option(
            "--retries",
            type=click.IntRange(0),
            metavar="N",
            help=f"How often a {what} goes on after its worker or node died; then it has failed.",
            show_default=defaults["retries"],
            panel=panel,
        ),
    )

    def add(command: F) -> F:
        for option in reversed(options):
            command = option(command)
        return command

    return add
