"""`nas cost`: MACs and parameters of an architecture, node by node."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from itertools import groupby
from typing import TYPE_CHECKING, Any

import rich_click as click
from rich.table import Table

from nas.cli.command import Command, input_option, json_option, use_option
from nas.cli.output import console, memory, print_json, table
from nas.units import show_count

if TYPE_CHECKING:
    from nas.cost import Cost, NodeCost
    from nas.fvcore_cost import FvcoreCost

DEPTH = 2
"""Dotted parts of a node's name that name its block: `encoder.resnet` of `encoder.resnet.s4.0.basic`."""


@click.command(
    cls=Command,
    examples=(
        "nas cost deeplabv3plus_resnet18",
        "nas cost fpn_resnet50 --input 1024x2048",
        "nas cost results/demo/architectures/3f9c0a1b2c3d.yaml --json",
        "nas cost pspnet_resnet18 --input 360x480 --fvcore",
    ),
)
@click.argument("architecture", help="An architecture file, or the name of a published one.")
@input_option("Input size; the architecture's own if left out. Counting takes no memory for it.")
@click.option("--blocks", is_flag=True, help="One line per block instead of one per node.")
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
    blocks: bool,
    fvcore: bool,
    force: bool,
    batch: int | None,
    as_json: bool,
    use: tuple[str, ...],  # noqa: ARG001
) -> None:
    """Print MACs and parameters of a network by node.

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
    counted = cost(loaded, size, training=recipe)
    second = _fvcore(loaded, counted.size, force) if fvcore else None
    if as_json:
        print_json(_as_json(counted, second, loaded.id, recipe.batch))
        return
    out = console()
    out.print(f"{architecture} [dim]({loaded.id})[/dim] at {counted.size[0]}x{counted.size[1]}")
    out.print(_table(counted, blocks=blocks))
    out.print(_memory(counted, recipe.batch))
    if second is not None:
        out.print(_comparison(counted, second))


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


def block_of(name: str) -> str:
    """Return the block that a node belongs to: the first parts of its name."""
    return ".".join(name.split(".")[:DEPTH])


def _table(counted: Cost, blocks: bool) -> Table:
    made = table(("node", "kind", ">MACs", ">share", ">params", "output"), ())
    for block, group in groupby(counted.nodes, key=lambda node: block_of(node.name)):
        nodes = list(group)
        made.add_row(*_row(block, "", nodes, counted), style="bold")
        for node in () if blocks else nodes:
            made.add_row(
                *_row("  " + node.name.removeprefix(f"{block}."), node.kind, [node], counted)
            )
    made.add_section()
    made.add_row(*_row("total", "", list(counted.nodes), counted), style="bold")
    return made


def _memory(counted: Cost, batch: int) -> str:
    return (
        f"memory at once in fp32: {memory(counted.memory_bytes)} evaluating one image, "
        f"{memory(counted.training_bytes or 0)} training on {batch}"
    )


def _row(name: str, kind: str, nodes: list[NodeCost], counted: Cost) -> tuple[str, ...]:
    macs, params = sum(n.macs for n in nodes), sum(n.params for n in nodes)
    share = f"{100 * macs / counted.macs:.1f} %" if counted.macs else ""
    shape = "x".join(str(extent) for extent in nodes[-1].shape)
    return name, kind, show_count(macs), share, show_count(params), shape


def _comparison(counted: Cost, second: FvcoreCost) -> Table:
    """Return both totals side by side, and what fvcore has no formula for."""
    rest = ", ".join(f"{name.removeprefix('aten::')} x{n}" for name, n in second.uncounted.items())
    made = table(
        ("", ">nas", ">fvcore"),
        (
            (
                "convolutions, linear layers, matrix products",
                f"{counted.macs:,}",
                f"{second.convolutions:,}",
            ),
            ("total", f"{counted.macs:,}", f"{second.total:,}"),
        ),
        title="\nfvcore beside it (multiply-adds; its total adds normalisation and resampling)",
    )
    made.caption, made.caption_justify = f"fvcore did not count: {rest}" if rest else None, "left"
    return made


def _as_json(
    counted: Cost, second: FvcoreCost | None, identity: str, batch: int
) -> Mapping[str, Any]:
    nodes = [{**asdict(node), "block": block_of(node.name)} for node in counted.nodes]
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
