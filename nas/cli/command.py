"""What all commands share: examples in the help, `--debug`, and the way to say a size or a file."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click
from rich.panel import Panel
from rich.text import Text

F = TypeVar("F", bound=Callable[..., Any])


class Command(click.RichCommand):
    """A command whose help ends with examples; `tests/nas/cli` checks that each of them parses."""

    def __init__(self, *args: Any, examples: Sequence[str] = (), **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.examples = tuple(examples)
        self.params.append(DEBUG)

    def format_epilog(self, ctx: Any, formatter: Any) -> None:
        """Write the examples, one per line, ready to copy."""
        if self.examples:
            lines = Text("\n".join(self.examples), overflow="fold")
            formatter.write(Panel(lines, title="Examples", title_align="left", border_style="dim"))
        super().format_epilog(ctx, formatter)


def _remember_debug(ctx: click.Context, _: click.Parameter, value: bool) -> None:
    ctx.meta["nas.debug"] = value


DEBUG = click.RichOption(
    ["--debug"],
    is_flag=True,
    expose_value=False,
    callback=_remember_debug,
    help="Show the whole traceback of an error.",
)


class Size(click.ParamType[tuple[int, int]]):
    """HEIGHTxWIDTH, for instance 360x480, as a tuple (height, width)."""

    name = "HxW"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, int]:
        if isinstance(value, tuple):
            return value
        match = re.fullmatch(r"(\d+)x(\d+)", str(value).strip().lower())
        if match is None or min(size := (int(match[1]), int(match[2]))) < 1:
            self.fail(
                f"{value!r} is not a size; expected HEIGHTxWIDTH, for instance 360x480", param, ctx
            )
        return size


def _use_files(
    _ctx: click.Context, _param: click.Parameter, files: tuple[Path, ...]
) -> tuple[Path, ...]:
    from nas import registry

    registry.domain()
    for file in files:
        registry.use_file(file)
    return files


json_option = click.option(
    "--json", "as_json", is_flag=True, help="Print JSON on standard output, and nothing else."
)
use_option = click.option(
    "--use",
    "use",
    type=click.Path(path_type=Path),
    multiple=True,
    is_eager=True,
    callback=_use_files,
    metavar="FILE.py",
    help="Import a Python file of your own first, for the blocks or data sets that it registers.",
)


def input_option(text: str, panel: str | None = None) -> Callable[[F], F]:
    """Return the option `--input HxW` with `text` as its help."""
    return click.option("--input", "size", type=Size(), help=text, panel=panel)


device_option = click.option(
    "--device", default="auto", help="cpu, cuda, cuda:1, mps; auto takes a GPU where there is one."
)


def pick_device(name: str) -> Any:
    """Return the `torch.device` called `name`; "auto" is the GPU where there is one."""
    import torch

    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        return torch.device(name)
    except RuntimeError as error:
        raise click.UsageError(f"--device {name!r}: {error}") from None
