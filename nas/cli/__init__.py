"""The command `nas`: one file per command, loaded when it is asked for."""

from __future__ import annotations

from collections.abc import Sequence


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command line and exit: 0 ok, 1 failed, 2 usage, 3 data, 4 nothing feasible, 130 interrupted."""
    from nas.cli.app import app

    app.main(args=arguments, prog_name="nas")
