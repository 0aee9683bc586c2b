"""`nas spaces`: what can be searched, and which published architectures come with it."""

from __future__ import annotations

import re
from itertools import takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from nas.cli.command import Command, json_option, use_option
from nas.cli.output import console, print_json, table
from nas.units import show_count

if TYPE_CHECKING:
    from nas.cost import Counter

EXACT = 1_000_000
"""Sizes of spaces below this are written out."""

CITED = re.compile(r"[A-Z]\w+ (?:et al\.|and [A-Z]\w+) \d{4}[^()]*")
"""Authors and year, and what is said of them up to a bracket."""


@click.command(
    cls=Command,
    examples=(
        "nas spaces",
        "nas spaces show tiny",
        "nas spaces show my_space.yaml",
        "nas spaces --json",
    ),
)
@click.argument(
    "action", type=click.Choice(["list", "show"]), default="list", help="What to print."
)
@click.argument("name", required=False, help="A space by name or file, for `show`.")
@use_option
@json_option
def command(action: str, name: str | None, *, as_json: bool, use: tuple[str, ...]) -> None:  # noqa: ARG001
    """List search spaces, published architectures and blocks, or show what one space decides.

    A space is a YAML file in which some fields are open; an architecture is one in which none is.
    `show` checks a space file of your own on the way: every kind, field and value in it.
    """
    if action == "show":
        if name is None:
            raise click.UsageError(
                "`nas spaces show` needs the name or file of a space; `nas spaces` lists them"
            )
        _show(name, as_json)
        return
    listed: dict[str, Any] = {
        "spaces": _spaces(),
        "architectures": _architectures(),
        "kinds": _kinds(),
    }
    if as_json:
        print_json(listed)
        return
    _print(listed)


def _print(listed: dict[str, Any]) -> None:
    spaces = [
        (s["name"], size_text(s["size"]), str(s["decisions"]), s["file"]) for s in listed["spaces"]
    ]
    architectures = [
        (
            a["name"],
            "x".join(map(str, a["input"])),
            show_count(a["macs"]),
            show_count(a["params"]),
            a["source"].partition(",")[0].partition(";")[0],
        )
        for a in listed["architectures"]
    ]
    kinds = [(slot, "  ".join(names)) for slot, names in listed["kinds"].items()]
    out = console()
    out.print(table(("space", ">architectures", ">decisions", "file"), spaces))
    out.print()
    out.print(table(("architecture", ">input", ">MACs", ">params", "source"), architectures))
    out.print()
    out.print(table(("slot", "kinds that may stand there"), kinds))


def size_text(size: int) -> str:
    """Return the number of architectures of a space: exact below a million, else its power of ten."""
    if size < EXACT:
        return f"{size:,}"
    exponent = len(str(size)) - 1
    return f"{size / 10**exponent:.1f}e{exponent}" if exponent < 300 else f"1e{exponent}"


def _spaces() -> list[dict[str, Any]]:
    from nas.language.library import spaces
    from nas.space import load_space

    rows = []
    for name, path in sorted(spaces().items()):
        space = load_space(path)
        paths = {decision for decision, _ in space.options()}
        rows.append(
            {"name": name, "size": space.size(), "decisions": len(paths), "file": str(path)}
        )
    return rows


def _architectures() -> list[dict[str, Any]]:
    from rich.progress import track

    from nas.language.library import published

    files = sorted(published().items())
    out = console(stderr=True)
    counters: dict[tuple[int, int], Counter] = {}
    shown = track(
        files, "counting", console=out, transient=True, disable=not out.is_terminal
    )  # ten seconds for the first time, then one
    return [_counted(name, path, counters) for name, path in shown]


def _counted(name: str, file: Path, counters: dict[tuple[int, int], Counter]) -> dict[str, Any]:
    """Return what is listed of a published architecture; `counters` by input size remember blocks that recur."""
    from nas.architecture import load_architecture
    from nas.cost import Counter

    architecture = load_architecture(file, fits=False)  # which counting finds out, too
    _, height, width = architecture.input
    counter = counters.setdefault((height, width), Counter((height, width)))
    counted = counter.count(architecture)
    return {
        "name": name,
        "id": architecture.id,
        "input": [height, width],
        "macs": counted.macs,
        "params": counted.params,
        "source": _source(file),
        "file": str(file),
    }


def _source(file: Path) -> str:
    """Return who published an architecture, as the comment at the top of its file says; "" where it does not."""
    lines = takewhile(lambda line: line.startswith("#"), file.read_text("utf-8").splitlines())
    found = CITED.search(" ".join(line.lstrip("# ") for line in lines))
    return found[0].strip() if found else ""


def _kinds() -> dict[str, list[str]]:
    """Return the names of the registered kinds by slot; what only composites add has the slot "part"."""
    from nas import registry

    registry.domain()
    slots = sorted({slot for kind in registry.KINDS.values() for slot in kind.slots})
    return {slot: registry.names(slot) for slot in slots}


def _show(name: str, as_json: bool) -> None:
    """Print every decision of a space with its options, in the order in which they are taken."""
    from nas.space import load_space

    space = load_space(name)
    decisions: dict[str, list[Any]] = {}
    for path, option in space.options():
        decisions.setdefault(path, []).append(option)
    if as_json:
        print_json(
            {
                "name": space.name,
                "size": space.size(),
                "digest": space.digest,
                "decisions": decisions,
            }
        )
        return
    out = console()
    out.print(f"{space.name}: {size_text(space.size())} architectures, {len(decisions)} decisions")
    out.print(table(("decision", "options"), [
        (path, "  ".join(str(option) for option in options)) for path, options in decisions.items()
    ]))  # fmt: skip
