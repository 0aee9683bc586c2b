"""Shows what a trained network sees in any images: overlays to look at, and label images to work with."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from nas.architecture import Architecture
from nas.atomic import write_atomic
from nas.errors import DataError, RunError
from nas.evaluate import check_classes, restore
from nas.registry import domain
from nas.weights import read_about

ENDINGS = (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".tif", ".tiff")


class Prediction(NamedTuple):
    """An image file with the two files that its prediction is written to."""

    image: Path
    overlay: Path
    labels: Path


class _Trained(NamedTuple):
    """The part of a data set that weights remember."""

    classes: tuple[str, ...]
    palette: NDArray[np.uint8]
    ignore: int = 255


def predict(
    architecture: Architecture | None,
    weights: Path | str,
    data: Any,
    images: Path | str | Iterable[Path | str],
    out: Path | str,
    *,
    device: torch.device | str = "cpu",
    size: tuple[int, int] | None = None,
    overwrite: bool = False,
    progress: Callable[[Prediction], None] = lambda _: None,
) -> list[Prediction]:
    """Write NAME_overlay.png and NAME_labels.png into `out` for each image, at its own size.

    The labels are a palette image of class indices. `images` are files or folders of files; each is
    fitted to the network's input size, or to `size` (H, W). `data` None takes classes and colours from
    the weights, as `architecture` None takes the architecture.
    Raises DataError naming an image that cannot be read, and RunError, before anything is written,
    where a file exists that would be (unless `overwrite`) or two images have the same name.
    """
    jobs = plan_outputs(find_images(images), Path(out), overwrite)
    about = read_about(weights)
    if data is None:
        data = _Trained(tuple(about["classes"]), np.array(about["palette"], np.uint8))
    else:
        data = domain().open_data(data) if isinstance(data, str) else data
        check_classes(weights, data)
    task = domain().make_task(data)
    network, size = restore(architecture, weights, size, device)
    for job in jobs:
        picture = task.picture(job.image)
        with torch.inference_mode():
            output = network(task.frame(picture, size).to(device))
            labels = task.unframe(output, picture.shape[:2])[0].cpu().numpy()
        write_atomic(job.overlay, png(task.overlay(picture, labels)))
        write_atomic(job.labels, png(labels, task.palette))
        progress(job)
    return jobs


def find_images(images: Path | str | Iterable[Path | str]) -> list[Path]:
    """Return the image files of files and folders, a folder's sorted by name; raises DataError where there are none."""
    given = [images] if isinstance(images, Path | str) else list(images)
    found: list[Path] = []
    for path in map(Path, given):
        if path.is_dir():
            inside = sorted(
                p
                for p in path.iterdir()
                if p.suffix.lower() in ENDINGS and not p.name.startswith(".")
            )
            if not inside:
                raise DataError(
                    f"{path}: no images in this folder; expected files that end in {', '.join(ENDINGS)}"
                )
            found += inside
        elif path.is_file():
            found.append(path)
        else:
            raise DataError(f"{path}: no such image or folder")
    if not found:
        raise DataError("no images given; name image files or a folder of them")
    return found


def plan_outputs(images: Sequence[Path], out: Path, overwrite: bool) -> list[Prediction]:
    """Return what will be written where; raises RunError where two images have one name or a file is there already."""
    jobs: dict[str, Prediction] = {}
    for image in images:
        if image.stem in jobs:
            other = jobs[image.stem].image
            raise RunError(
                f"{image} and {other} would be written under one name; predict them into two folders"
            )
        jobs[image.stem] = Prediction(
            image, out / f"{image.stem}_overlay.png", out / f"{image.stem}_labels.png"
        )
    there = [path for job in jobs.values() for path in (job.overlay, job.labels) if path.exists()]
    if there and not overwrite:
        more = f" and {len(there) - 1} more" if len(there) > 1 else ""
        raise RunError(f"{there[0]}{more} exists; choose another folder, or allow overwriting")
    return list(jobs.values())


def png(pixels: NDArray[np.uint8], palette: NDArray[np.uint8] | None = None) -> bytes:
    """Return a PNG of colours (H, W, 3), or of indices (H, W) into `palette` (K, 3)."""
    image = Image.fromarray(pixels)
    if palette is not None:
        image.putpalette(palette.tobytes())
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()
