"""Which code the blocks of some networks are: what a table of measured latencies holds for."""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Iterable
from pathlib import Path

from nas.architecture import Architecture
from nas.errors import LatencyError, PlanError
from nas.plan import Planner
from nas.registry import Kind


def code_of(architectures: Iterable[str], size: tuple[int, int]) -> str:
    """Return 12 hexadecimal digits over the source files of every block in these networks, wherever they lie.

    Raises LatencyError where a network cannot be planned any more.
    """
    planner, kinds = Planner(size), dict[str, Kind]()
    for text in architectures:
        try:
            steps, _ = planner.plan(Architecture(text)).steps()
        except PlanError as error:
            raise LatencyError(
                f"a network of the table does not fit together any more: {error}"
            ) from error
        kinds |= {step.leaf.kind.name: step.leaf.kind for step in steps}
    digest = hashlib.sha256()
    for name in sorted(kinds):
        digest.update(name.encode() + b"\0" + _source(kinds[name]))
    return digest.hexdigest()[:12]


def _source(kind: Kind) -> bytes:
    file = inspect.getsourcefile(kind.make)
    return b"" if file is None else Path(file).read_bytes()
