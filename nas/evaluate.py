"""Scores a trained network on a split of a data set."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import nn

from nas.architecture import Architecture
from nas.errors import DataError
from nas.network import Network, build, input_size
from nas.registry import domain
from nas.task import Task
from nas.train import score
from nas.weights import load_weights, read_about

BATCH = 8


def evaluate(
    architecture: Architecture | None,
    weights: Path | str,
    data: Any,
    split: str | None = None,
    size: tuple[int, int] | None = None,
    *,
    device: torch.device | str = "cpu",
    native: bool = False,
    batch: int = BATCH,
    cache: Path | None = None,
) -> dict[str, Any]:
    """Return miou, iou by class and pixel_accuracy of trained weights on a split (the reporting one if None).

    `architecture` None: the one that the weights name. Images are fitted to `size` (H, W; that of the
    training if None) and scored there; `native` scores against the original masks, with the logits
    resized to each. `data` is a data set or its text, `cache` a folder for decoded images that may be
    shared (None: one that is gone afterwards).
    """
    data = domain().open_data(data) if isinstance(data, str) else data
    network, size = restore(architecture, weights, size, device)
    check_classes(weights, data)
    split = split or data.reporting
    samples = data.split(split)
    if native:
        scores = score_native(network, domain().make_task(data), data, samples, size)
    else:
        with folder_for(cache) as folder:
            prepared = domain().prepare(data, samples, size, folder)
            scores = score(
                network, domain().make_task(data), domain().validation(prepared, batch, device)
            )
    about = {
        "split": split,
        "size": list(size),
        "native": native,
        "images": len(samples),
        "data": data.text,
    }
    return {**scores, **about}


def restore(
    architecture: Architecture | None,
    weights: Path | str,
    size: tuple[int, int] | None = None,
    device: torch.device | str = "cpu",
) -> tuple[Network, tuple[int, int]]:
    """Return a trained network in evaluation mode and its input size (H, W). Raises RunError where they do not fit."""
    about = read_about(weights)
    wanted = architecture or Architecture.of(about["architecture"])
    height, width = size or about.get("size") or input_size(wanted)
    classes = len(about["classes"])
    fitted = wanted.with_classes(classes).with_input((3, int(height), int(width)))
    network = load_weights(build(fitted), weights)
    return network.to(device).eval(), (int(height), int(width))


def check_classes(weights: Path | str, data: Any) -> None:
    """Raise DataError where the data set has other classes than the weights were trained for."""
    trained = tuple(read_about(weights)["classes"])
    if trained != tuple(data.classes):
        expected, got = (
            f"{len(trained)} classes ({', '.join(trained)})",
            f"{len(data.classes)} ({', '.join(data.classes)})",
        )
        raise DataError(f"{weights} was trained for {expected}; {data.text} has {got}")


def score_native(
    network: nn.Module, task: Task, data: Any, samples: Any, size: tuple[int, int]
) -> dict[str, Any]:
    """Return the task's metric against masks at their own size; the network sees each image fitted to `size`."""
    metric = task.metric()
    device = next(network.parameters()).device
    with torch.inference_mode():
        for sample in samples:
            image, mask = data.read(sample)
            output = network(task.frame(image, size).to(device))
            target = torch.from_numpy(mask.copy())[None].to(device)
            metric.update(task.unframe(output, mask.shape), target)
    return metric.compute()


@contextmanager
def folder_for(cache: Path | None) -> Iterator[Path]:
    """Yield `cache`, or a folder that is gone afterwards."""
    if cache is not None:
        yield cache
        return
    with tempfile.TemporaryDirectory(prefix="nas-") as folder:
        yield Path(folder)
