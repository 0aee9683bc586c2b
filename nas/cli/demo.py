"""`nas demo`: the whole way on built-in data, in about five minutes on two cores."""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from nas.cli.app import INTERRUPTED
from nas.cli.command import Command, pick_device
from nas.cli.output import console
from nas.errors import TrainingError

if TYPE_CHECKING:
    from nas.front import Front, Row
    from nas.run import Run

DATA = "street:images=160,val=40,size=256x512"
SIZE = (128, 256)
PICTURES = 6
EPOCHS = 3


@click.command(
    cls=Command, examples=("nas demo", "nas demo --trials 4 --epochs 5 --run results/quick")
)
@click.option(
    "--trials", type=click.IntRange(1), default=12, help="Networks that the search trains."
)
@click.option("--epochs", type=click.IntRange(1), default=20, help="Epochs of the retraining.")
@click.option(
    "--run",
    "folder",
    type=click.Path(path_type=Path),
    help="Folder for the results; it must be new.",
    show_default="results/demo, or the next free number",
)
@click.option("--seed", type=int, default=0, help="Another seed is another search.")
def command(trials: int, epochs: int, folder: Path | None, seed: int) -> None:
    """Search, front, retraining, export and pictures, on built-in street scenes.

    Everything that it does is one of the other commands, which it prints as it goes.
    """
    run = _search(folder or next_free(Path("results/demo")), trials, seed)
    found = _front(run)
    if found.knee is None:
        raise TrainingError(f"no network was trained; {run.folder}/log.jsonl says why")
    weights = _retrain(run, found.knee, epochs, seed)
    exported = _export(run, found.knee.id, weights)
    overlays = _predict(run, weights)
    _summary(run, exported, overlays)


def next_free(folder: Path) -> Path:
    """Return `folder`, or the first of folder-2, folder-3, ... that does not exist."""
    names = (folder if n == 1 else folder.with_name(f"{folder.name}-{n}") for n in count(1))
    return next(path for path in names if not path.exists())


def _step(number: int, what: str, same: str) -> None:
    console().print(f"\n[bold]{number}. {what}[/bold]  [dim]{same}[/dim]")


def _search(place: Path, trials: int, seed: int) -> Run:
    from nas.recipe import Recipe
    from nas.search import search

    asked = f"--data {DATA} --input {SIZE[0]}x{SIZE[1]} --epochs {EPOCHS} --budget {trials}trials"
    _step(1, "Search", f"nas search tiny {asked} --run {place}")
    run = search(
        "tiny",
        data=DATA,
        size=SIZE,
        recipe=Recipe(epochs=EPOCHS),
        budget=f"{trials}trials",
        seed=seed,
        run=place,
    )
    if run.ended == "interrupted":
        click.echo(f"go on with\n  {run.resume_command}", err=True)
        sys.exit(INTERRUPTED)
    return run


def _front(run: Run) -> Front:
    from nas.cli.front import show, write
    from nas.front import front

    _step(2, "Front", f"nas front {run.folder}")
    found = front(run)
    write(found)
    show(found)
    return found


def _retrain(run: Run, knee: Row, epochs: int, seed: int) -> Path:
    """Retrain the knee; return its weights."""
    from nas.cli.epochs import shown_epochs
    from nas.front import pick
    from nas.recipe import Recipe
    from nas.retrain import retrain

    _step(3, "Retrain the knee", f"nas retrain {run.folder} knee --epochs {epochs}")
    (architecture,) = pick(run, "knee")
    folder = run.folder / "retrained" / architecture.id / f"seed-{seed}"
    with shown_epochs(architecture.id) as progress:
        score = retrain(
            architecture,
            DATA,
            folder=folder,
            recipe=Recipe(epochs=epochs),
            size=SIZE,
            seed=seed,
            device=pick_device("auto"),
            progress=progress,
            cache=run.cache,
        )
    click.echo(
        f"mIoU {score['miou']:.4f} on {score['split']}; {knee.score:.4f} after the {EPOCHS} epochs of the search"
    )
    return folder / "weights.safetensors"


def _export(run: Run, identity: str, weights: Path) -> Path:
    from nas.cli.export import show
    from nas.export import export
    from nas.trained import Trained

    _step(4, "Export and check", f"nas export {run.folder} knee")
    trained = Trained.read(weights)
    exported = export(
        trained.architecture, weights, trained.data, run.folder / "export" / f"{identity}.onnx"
    )
    show(exported)
    return exported.path


def _predict(run: Run, weights: Path) -> list[Any]:
    """Save some images that no training has seen, and paint the predicted classes over them."""
    from nas.predict import predict

    images, pictures = run.folder / "images", run.folder / "pictures"
    _step(5, "Pictures", f"nas predict {run.folder} knee {images} --out {pictures}")
    return predict(None, weights, None, _save_images(images), pictures)


def _save_images(folder: Path) -> list[Path]:
    from PIL import Image

    from nas.registry import domain

    data = domain().open_data(DATA)
    folder.mkdir(parents=True, exist_ok=True)
    files = []
    for sample in data.split(data.reporting)[:PICTURES]:
        image, _ = data.read(sample)
        files.append(folder / f"{sample.name}.png")
        Image.fromarray(image).save(files[-1])
    return files


def _summary(run: Run, exported: Path, overlays: list[Any]) -> None:
    out = console()
    out.print("\n[bold]Done.[/bold]")
    out.print(f"front     {run.folder / 'front.png'}  {run.folder / 'front.json'}")
    out.print(f"ONNX      {exported}")
    out.print(f"pictures  {overlays[0].overlay.parent}/*_overlay.png")
    out.print(
        "next      nas search real_time --data folder:DIR --budget 2h, with images of your own (README.md)"
    )
