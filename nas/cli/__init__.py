"""The command `nas`: one file per command, loaded when it is asked for."""

from __future__ import annotations

import os
from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 ok, 1 failed, 2 usage, 3 data, 4 nothing feasible, 130 interrupted."""
    # Threads that wait by spinning make a training on a machine with other work many times slower.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    from nas.cli.app import app

    app.main(args=arguments, prog_name="nas")
