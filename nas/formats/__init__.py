"""File formats that a network can be exported to: a plain dict, one file each.

A format writes a network and opens what it wrote as something that can be called; it checks nothing itself.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from nas.errors import ExportError, suggest
from nas.formats.onnx import Onnx
from nas.formats.pt2 import Pt2

if TYPE_CHECKING:
    from torch import Tensor, nn

Runner = Callable[["Tensor"], "Tensor"]
"""Images (N, 3, H, W), normalised -> logits (N, classes, H, W)."""


class Format(Protocol):
    """One file format."""

    suffix: str
    runtime: str

    def write(
        self,
        network: nn.Module,
        example: Tensor,
        path: Path,
        *,
        dynamic: bool,
        metadata: Mapping[str, str],
    ) -> None:
        """Write `network`, traced on `example`; the batch is always dynamic, height and width if `dynamic`."""
        ...

    def open(self, path: Path, threads: int) -> Runner:
        """Load the file as a function that runs it on the CPU with `threads` threads."""
        ...


FORMATS: dict[str, Format] = {"onnx": Onnx(), "pt2": Pt2()}


def find(name: str) -> Format:
    """Return the format called `name`; raises ExportError with the closest known name."""
    if name not in FORMATS:
        raise ExportError(f"no format is called {name!r}; {suggest(name, FORMATS)}")
    return FORMATS[name]
