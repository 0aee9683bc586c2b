"""Shows a training: a bar with the time left on a terminal, one line per epoch elsewhere."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from nas.cli.output import console

Row = Mapping[str, Any]


@contextmanager
def shown_epochs(name: str) -> Iterator[Callable[[Row], None]]:
    """Yield what a training is to call with each epoch's row: epoch, epochs, loss, seconds."""
    out = console(stderr=True)
    if not out.is_terminal:
        yield lambda row: _line(out, name, row)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=out) as bar:
        task = bar.add_task(f"{name}: starting", total=None)

        def show(row: Row) -> None:
            done, total = _position(row)
            bar.update(
                task, completed=done, total=total, description=f"{name}: loss {row['loss']:.4f}"
            )

        yield show


def _position(row: Row) -> tuple[int, int]:
    return int(row["epoch"]), int(row["epochs"])


def _line(out: Console, name: str, row: Row) -> None:
    done, total = _position(row)
    out.print(
        f"{name}: epoch {done} of {total}, loss {row['loss']:.4f}, {row['seconds']:.1f} s",
        markup=False,
    )
