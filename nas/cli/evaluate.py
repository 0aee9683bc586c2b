"""`nas evaluate`: mIoU and the IoU of each class, on a whole split."""

from __future__ import annotations

from typing import Any

import rich_click as click

from nas.cli.command import (
    Command,
    device_option,
    input_option,
    json_option,
    pick_device,
    use_option,
)
from nas.cli.output import console, print_json, table
from nas.cli.source import find_trained, trained_arguments


@click.command(
    cls=Command,
    examples=(
        "nas evaluate results/demo knee",
        "nas evaluate results/city 3f9c0a1b2c3d --split test --json",
        "nas evaluate results/demo/retrained/3f9c0a1b2c3d/seed-0/weights.safetensors --data folder:my_images",
    ),
)
@trained_arguments
@click.option("--data", help="Score on this data set; the one that it was trained on if left out.")
@click.option("--split", help="The split to score on; the data set's reporting split if left out.")
@input_option("Input size; the one of the training if left out.")
@click.option(
    "--native",
    is_flag=True,
    help="Score against the masks at their own size, not fitted to the input size.",
)
@device_option
@use_option
@json_option
def command(
    source: str,
    pick: str | None,
    seed: int | None,
    data: str | None,
    split: str | None,
    *,
    size: tuple[int, int] | None,
    native: bool,
    device: str,
    as_json: bool,
    use: tuple[str, ...],  # noqa: ARG001
) -> None:
    """Score a retrained network on a whole split.

    mIoU is the mean over the classes of intersection over union, from one confusion matrix over all
    pixels of the split; void pixels count nowhere.
    """
    from nas.evaluate import evaluate

    trained = find_trained(source, pick, seed)
    score = evaluate(
        trained.architecture,
        trained.weights,
        data or trained.data,
        split,
        size or trained.size,
        device=pick_device(device),
        native=native,
    )
    if as_json:
        print_json({"id": trained.architecture.id, "weights": str(trained.weights), **score})
        return
    height, width = score["size"]
    at = "the masks' own sizes" if native else f"{height}x{width}"
    _print(
        score,
        f"{trained.architecture.id} on {score['images']} images, {score['split']} of {score['data']}, at {at}",
    )


def _print(score: dict[str, Any], title: str) -> None:
    rows = [
        (name, "-" if iou is None else f"{100 * iou:.1f}") for name, iou in score["iou"].items()
    ]
    made = table(("class", ">IoU %"), rows, title=title)
    made.add_section()
    made.add_row("mIoU", f"{100 * score['miou']:.1f}", style="bold")
    made.add_row("pixel accuracy", f"{100 * score['pixel_accuracy']:.1f}")
    console().print(made)
