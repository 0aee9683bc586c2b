"""The group of all commands, and what becomes of errors: one clean message and an exit code."""

from __future__ import annotations

import importlib
import sys
from typing import Any

import rich_click as click

from nas.errors import (
    DataError,
    LatencyError,
    LimitError,
    NasError,
    PlanError,
    RecipeError,
    RunError,
    SpaceError,
    suggest,
)
from nas.full_disk import is_full

FAILED, USAGE, DATA, INFEASIBLE, INTERRUPTED = 1, 2, 3, 4, 130
EXIT_CODES: dict[type[NasError], int] = {
    SpaceError: USAGE,
    RunError: USAGE,
    RecipeError: USAGE,
    DataError: DATA,
    PlanError: DATA,
    LimitError: DATA,
    LatencyError: DATA,
}
COMMANDS = (
    "demo",
    "spaces",
    "cost",
    "latency",
    "search",
    "front",
    "tune",
    "retrain",
    "evaluate",
    "predict",
    "export",
)


def exit_code(error: NasError) -> int:
    """Return the code that the process exits with after `error`."""
    return next((code for kind, code in EXIT_CODES.items() if isinstance(error, kind)), FAILED)


class App(click.RichGroup):
    """Imports a command's file when it is needed; turns errors meant for a person into a message."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:  # noqa: ARG002
        if name not in COMMANDS:
            return None
        command: click.Command = importlib.import_module(f"nas.cli.{name}").command
        command.name = name
        return command

    def resolve_command(self, ctx: click.Context, args: list[str]) -> Any:
        if args and not args[0].startswith("-") and args[0] not in COMMANDS:
            ctx.fail(f"no command is called {args[0]!r}; {suggest(args[0], COMMANDS)}")
        return super().resolve_command(ctx, args)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except NasError as error:
            if ctx.meta.get("nas.debug"):
                raise
            click.echo(f"error: {error}", err=True)
            sys.exit(exit_code(error))
        except OSError as error:
            if ctx.meta.get("nas.debug") or not is_full(error):
                raise
            click.echo(f"error: the disk is full: {error.filename or error}", err=True)
            sys.exit(FAILED)
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            sys.exit(INTERRUPTED)


@click.group(
    cls=App,
    context_settings={"help_option_names": ["-h", "--help"], "show_default": True},
)
@click.version_option(package_name="nas-segmentation", prog_name="nas")
def app() -> None:
    """Find, train and export a segmentation network of your own.

    A search tries architectures out of a space on your images, within your limits, and keeps a
    Pareto front; its networks are then retrained, scored and exported. `nas demo` shows the whole
    way in about five minutes; `nas COMMAND --help` has examples.
    """
