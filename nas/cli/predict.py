"""`nas predict`: pictures with the predicted classes painted over them."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from nas.cli.command import Command, device_option, pick_device, use_option
from nas.cli.source import SUFFIX, find_trained


@click.command(
    cls=Command,
    examples=(
        "nas predict results/demo knee street.jpg --out pictures",
        "nas predict results/city 3f9c0a1b2c3d holiday --out holiday_seen",
        "nas predict results/demo/retrained/3f9c0a1b2c3d/seed-0/weights.safetensors street.jpg",
    ),
)
@click.argument("source", help="A run's folder, or a file weights.safetensors.")
@click.argument(
    "rest",
    nargs=-1,
    required=True,
    metavar="[ID] IMAGE...",
    help="In a run: the network's id; then images, or folders of them.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), default="pictures", help="Folder for the pictures."
)
@click.option(
    "--seed", type=int, help="Take the weights retrained with this seed.", show_default="the lowest"
)
@click.option("--overwrite", is_flag=True, help="Replace pictures that are already there.")
@device_option
@use_option
def command(
    source: str,
    rest: tuple[str, ...],
    out: Path,
    seed: int | None,
    *,
    overwrite: bool,
    device: str,
    use: tuple[str, ...],  # noqa: ARG001
) -> None:
    """Paint the predicted classes over images, in the data set's palette.

    Images of any size are read; each is fitted to the network's input and its labels brought back.
    Beside NAME_overlay.png, to look at, NAME_labels.png holds the class of each pixel.
    """
    from nas.predict import Prediction, predict

    one = Path(source).suffix == SUFFIX
    pick, images = (None, rest) if one else (rest[0], rest[1:])
    if not images:
        raise click.UsageError("no image is given; nas predict RUN ID IMAGE...")

    def show(prediction: Prediction) -> None:
        click.echo(f"{prediction.overlay}  {prediction.labels}")

    trained = find_trained(source, pick, seed)
    predict(
        trained.architecture,
        trained.weights,
        None,
        images,
        out,
        device=pick_device(device),
        overwrite=overwrite,
        progress=show,
    )
