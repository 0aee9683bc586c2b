"""Trained networks on disk: which architecture, on what data, at which size; found in a run or by the weights' file."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nas.errors import RunError

if TYPE_CHECKING:
    from nas.architecture import Architecture

WEIGHTS = "weights.safetensors"


@dataclass(frozen=True, slots=True)
class Trained:
    """An architecture with its weights, the data set's text and the input size (H, W) that it was trained with."""

    architecture: Architecture
    weights: Path
    data: str
    size: tuple[int, int]

    @classmethod
    def read(cls, weights: Path | str) -> Trained:
        """Return what a file of weights says of itself; raises RunError where it is not one of ours."""
        from nas.architecture import Architecture
        from nas.weights import read_about

        about = read_about(weights)
        height, width = about["size"]
        return cls(
            Architecture.of(about["architecture"]), Path(weights), about["data"], (height, width)
        )

    @classmethod
    def find(cls, run: Path | str, architecture_id: str, seed: int | None = None) -> Trained:
        """Return the retrained network of a run: of `seed`, or of the lowest seed that finished.

        Raises RunError with the command that retrains it where there is none.
        """
        folder = Path(run) / "retrained" / architecture_id
        found = sorted(folder.glob(f"seed-*/{WEIGHTS}"), key=lambda file: _seed(file.parent))
        for file in found:
            if seed is None or _seed(file.parent) == seed:
                return cls.read(file)
        command = [
            "nas",
            "retrain",
            str(run),
            architecture_id,
            *(() if seed is None else ("--seed", str(seed))),
        ]
        which = "no retrained weights" if seed is None else f"no weights retrained with seed {seed}"
        have = (
            f" (there are seeds {', '.join(str(_seed(f.parent)) for f in found)})" if found else ""
        )
        raise RunError(
            f"{which} of {architecture_id} in {run}{have}; make them with\n  {shlex.join(command)}"
        )


def _seed(folder: Path) -> int:
    number = folder.name.removeprefix("seed-")
    return int(number) if number.isdigit() else -1
