"""`nas cost`: MACs and parameters of an architecture, node by node."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.table import Table

from nas.breakdown import By, Part, breakdown, slot_of, total
from nas.breakdown_plot import plot as draw
from nas.cli.command import Command, input_option, json_option, use_option
from nas.cli.output import console, memory, print_json, table
from nas.units import show_count

if TYPE_CHECKING:
    from nas.cost import Cost
    from nas.fvcore_cost import FvcoreCost

BAR, WIDTH = "█", 20


@click.command(
    cls=Command,
    examples=(
        "nas cost deeplabv3plus_resnet18",
        "nas cost fpn_resnet50 --input 1024x2048",
        "nas cost results/demo/architectures/3f9c0a1b2c3d.yaml --json",
        "nas cost pspnet_resnet18 --input 360x480 --fvcore",
        "nas cost fpn_resnet18 --by slot --target onnxruntime --plot where.png",
    ),
)
@click.argument("architecture", help="An architecture file, or the name of a published one.")
@input_option("Input size; the architecture's own if left out. Counting takes no memory for it.")
@click.option(
    "--by",
    type=click.Choice(("node", "slot")),
    default="node",
    help="What gets a line: every node, or encoder, context, neck and head.",
)
@click.option(
    "--target",
    metavar="RUNTIME[,NAME=VALUE...]",
    help="Measure where the time goes on this target, inside the running network, e.g. onnxruntime or cpu.",
)
@click.option(
    "--latency-table",
    type=click.Path(path_type=Path),
    help="Predict where the time goes from this table (see `nas latency --make-table`).",
)
@click.option("--plot", type=click.Path(path_type=Path), help="Draw it as bars (.png, .svg, .pdf).")
@click.option(
    "--fvcore", is_flag=True, help="Put fvcore's total beside it, from a real forward pass."
)
@click.option(
    "--batch",
    type=click.IntRange(min=1),
    help="Images in the training step whose memory is told; the default recipe's if left out.",
)
@click.option(
    "--force", is_flag=True, help="Run fvcore even if its memory does not seem to be there."
)
@use_option
@json_option
def command(
    architecture: str,
    size: tuple[int, int] | None,
    *,
    by: By,
    target: str | None,
    latency_table: Path | None,
    plot: Path | None,
    fvcore: bool,
    force: bool,
    batch: int | None,
    as_json: bool,
    use: tuple[str, ...],  # noqa: ARG001
) -> None:
    """Print where MACs, parameters, memory and time of a network go.

    One multiply-add of a convolution, linear layer or matrix product (attention included) is one MAC;
    normalisation, activations and resampling are not counted. Parameters are those of the exported
    network: auxiliary heads, which only training uses, are left out. Memory is what is held at once
    in fp32 beside weights and the optimiser's state: evaluating one image, and training on a batch.
    """
    from nas.architecture import load_architecture
    from nas.cost import cost
    from nas.recipe import Recipe

    loaded = load_architecture(architecture)
    recipe = Recipe.of(batch=batch)
    times = _times(loaded, size, target, latency_table)
    counted = cost(loaded, size, training=recipe, times=times)
    parts = breakdown(counted.nodes, by)
    if plot is not None:
        draw(parts, f"{architecture} at {counted.size[0]}x{counted.size[1]}", plot)
    second = _fvcore(loaded, counted.size, force) if fvcore else None
    if as_json:
        print_json(_as_json(counted, second, loaded.id, recipe.batch))
        return
    out = console()
    out.print(f"{architecture} [dim]({loaded.id})[/dim] at {counted.size[0]}x{counted.size[1]}")
    out.print(_table(parts, counted))
    out.print(_memory(counted, recipe.batch))
    if second is not None:
        out.print(_comparison(counted, second))


def _times(
    architecture: Any, size: tuple[int, int] | None, target: str | None, path: Path | None
) -> Mapping[str, float] | None:
    if target is None and path is None:
        return None
    from nas.latency import node_times

    return node_times(architecture, target, size=size, table=path)


def _fvcore(architecture: Any, size: tuple[int, int], force: bool) -> FvcoreCost:
    """Say what memory fvcore takes, refuse where it is not there, then count."""
    from nas.fvcore_cost import fvcore_cost, memory_available, memory_needed, refuse_without_memory

    needed = memory_needed(architecture, size)
    click.echo(
        f"fvcore runs the network once at {size[0]}x{size[1]}: about {memory(needed)}", err=True
    )
    if not force:
        refuse_without_memory(needed, memory_available())
    return fvcore_cost(architecture, size)


def _table(parts: Sequence[Part], counted: Cost) -> Table:
    """Return the parts with their shares, and a bar for the share of the time, or of MACs where nothing was timed."""
    whole = total(counted.nodes)
    timed = whole.time_ms is not None
    columns = ["node", "kind", ">MACs", ">share", ">params", ">memory"]
    made = table((*columns, *([">ms", ">share"] if timed else []), "", "output"), ())
    for part in parts:
        made.add_row(*_row(part, whole))
    made.add_section()
    made.add_row(*_row(whole, whole), style="bold")
    return made


def _row(part: Part, whole: Part) -> tuple[str, ...]:
    macs = _share(part.macs, whole.macs)
    cells = [part.name, part.kind or f"{part.leaves} nodes", show_count(part.macs), f"{macs:.1%}"]
    cells += [show_count(part.params), memory(part.memory_bytes)]
    share = macs
    if whole.time_ms is not None:
        share = _share(part.time_ms or 0.0, whole.time_ms)
        cells += [f"{part.time_ms or 0.0:.2f}", f"{share:.1%}"]
    bar = BAR * round(WIDTH * share) if part is not whole else ""
    return (*cells, bar, "x".join(str(extent) for extent in part.shape))


def _share(value: float, whole: float) -> float:
    return value / whole if whole else 0.0


def _memory(counted: Cost, batch: int) -> str:
    return (
        f"memory at once in fp32: {memory(counted.memory_bytes)} evaluating one image, "
        f"{memory(counted.training_bytes or 0)} training on {batch}"
    )


def _comparison(counted: Cost, second: FvcoreCost) -> Table:
    """Return both totals side by side, and what fvcore has no formula for."""
    rows = [
        (
            "convolutions, linear layers, matrix products",
            f"{counted.macs:,}",
            f"{second.convolutions:,}",
        ),
        ("total", f"{counted.macs:,}", f"{second.total:,}"),
    ]
    if second.added:
        alone = second.total - sum(second.added.values())
        rows.append(("total without our formulas", "", f"{alone:,}"))
    made = table(
        ("", ">nas", ">fvcore"),
        rows,
        title="\nfvcore beside it (multiply-adds; its total adds normalisation and resampling)",
    )
    ours = ", ".join(f"{name} {show_count(n)}" for name, n in second.added.items())
    rest = ", ".join(f"{name.removeprefix('aten::')} x{n}" for name, n in second.uncounted.items())
    notes = [f"counted by formulas of ours: {ours}"] if ours else []
    notes += [f"fvcore did not count: {rest}"] if rest else []
    made.caption, made.caption_justify = "\n".join(notes) or None, "left"
    return made


def _as_json(
    counted: Cost, second: FvcoreCost | None, identity: str, batch: int
) -> Mapping[str, Any]:
    nodes = [{**asdict(node), "slot": slot_of(node.name)} for node in counted.nodes]
    head = {
        "id": identity,
        "input": list(counted.size),
        "macs": counted.macs,
        "params": counted.params,
    }
    fvcore = {} if second is None else {"fvcore": asdict(second)}
    held = {
        "memory_bytes": counted.memory_bytes,
        "training": {"batch": batch, "memory_bytes": counted.training_bytes},
    }
    return {**head, **held, **fvcore, "nodes": nodes}
