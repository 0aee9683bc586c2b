"""Export a trained network to a file, run that file, and refuse it where it does not do what the network does."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from nas import registry
from nas.architecture import Architecture
from nas.errors import ExportError
from nas.evaluate import check_classes, restore
from nas.formats import Format, find
from nas.latency.measure import Measured, interleaved
from nas.latency.runtimes import Session
from nas.plan import Planner

if TYPE_CHECKING:
    from nas.task import Task

PROBE = 8192
"""An input size at which every stride shows as a whole number of pixels, on the meta device."""


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What may differ: the share of pixels with another label, and logits relative to the largest."""

    labels: float = 1e-3
    logits: float = 1e-3


@dataclass(frozen=True, slots=True)
class Check:
    """How the file compares with PyTorch on real images of one size (H, W) and batch."""

    size: tuple[int, int]
    batch: int
    labels: float
    logits: float

    def fails(self, tolerance: Tolerance) -> bool:
        """Whether either difference is larger than allowed; one that is not a number is."""
        return not (self.labels <= tolerance.labels and self.logits <= tolerance.logits)

    def __str__(self) -> str:
        size = f"batch {self.batch} at {self.size[0]}x{self.size[1]}"
        return f"{size}: {100 * self.labels:.4f} % of the labels differ, logits by {self.logits:.1e} of the largest"


@dataclass(frozen=True, slots=True)
class Exported:
    """A file that passed its checks. `fixed` says why height and width are fixed, None where they are dynamic."""

    path: Path
    format: str
    size: tuple[int, int]
    fixed: str | None
    checks: tuple[Check, ...]
    latency: Mapping[str, Measured]
    threads: int


def export(
    architecture: Architecture,
    weights: Path | str,
    data: Any,
    path: Path | str,
    *,
    format: str = "onnx",  # noqa: A002
    size: tuple[int, int] | None = None,
    fixed_size: bool = False,
    images: int = 4,
    tolerance: Tolerance | None = None,
    runs: int = 20,
    overwrite: bool = False,
) -> Exported:
    """Write a network to `path` and check it on images of `data` (a data set, or its text such as "camvid:DIR").

    The batch is dynamic; height and width too, unless `fixed_size` or the architecture does not allow it: that is
    tried, by running the file at `size` (H, W; that of the training if None) and at another, odd one.
    Raises ExportError where the file's outputs differ by more than `tolerance`; nothing is left at `path` then.
    """
    if Path(path).exists() and not overwrite:
        raise ExportError(
            f"{path} is already there; --overwrite replaces it, or --out names another file"
        )
    domain = registry.domain()
    data = domain.open_data(data) if isinstance(data, str) else data
    check_classes(weights, data)
    network, size = restore(architecture, weights, size)
    job = _Job(network, find(format), Path(path), domain.make_task(data), tolerance or Tolerance())
    metadata = describe(architecture, data, size)
    batches = {
        s: _images(domain, data, s, n) for s, n in ((size, images), (odd(size), max(2, images - 1)))
    }
    fixed = "asked for" if fixed_size else None
    if fixed is None:
        try:
            checks = job.attempt(
                trace_size(architecture, size), tuple(batches.values()), True, metadata
            )
        except ExportError as error:
            fixed = str(error)
    if fixed is not None:
        checks = job.attempt(size, (batches[size], batches[size][:1]), False, metadata)
    threads = torch.get_num_threads()
    image = batches[size][:1]
    runners = {"PyTorch": job.reference, job.format.runtime: job.format.open(job.path, threads)}
    sessions = {name: Session(run=partial(run, image)) for name, run in runners.items()}
    latency = interleaved(sessions, runs=runs) if runs else {}
    return Exported(job.path, format, size, fixed, checks, latency, threads)


@dataclass(frozen=True, slots=True)
class _Job:
    """One network on its way into one file."""

    network: nn.Module
    format: Format
    path: Path
    task: Task
    tolerance: Tolerance

    def reference(self, images: Tensor) -> Tensor:
        """Return what PyTorch says."""
        with torch.inference_mode():
            return self.network(images)  # type: ignore[no-any-return]

    def attempt(
        self,
        traced: tuple[int, int],
        batches: Sequence[Tensor],
        dynamic: bool,
        metadata: Mapping[str, str],
    ) -> tuple[Check, ...]:
        """Write the file beside `path`, check it on each batch, and move it there only if all is well."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        draft = self.path.with_name(f".{self.path.name}.draft{self.format.suffix}")
        try:
            self._write(draft, torch.zeros(2, 3, *traced), dynamic, metadata)
            checks = tuple(self._check(draft, images) for images in batches)
            draft.replace(self.path)
        finally:
            draft.unlink(missing_ok=True)
        return checks

    def _write(
        self, draft: Path, example: Tensor, dynamic: bool, metadata: Mapping[str, str]
    ) -> None:
        try:
            self.format.write(self.network, example, draft, dynamic=dynamic, metadata=metadata)
        except ExportError:
            raise
        except Exception as error:  # exporters raise whatever the layer that they trip over raises
            kind, text = type(error).__name__, str(error).strip().partition("\n")[0]
            raise ExportError(f"the exporter failed: {kind}: {text}") from error

    def _check(self, draft: Path, images: Tensor) -> Check:
        run = self.format.open(draft, torch.get_num_threads())
        check = compare(self.reference, run, images, self.task.decode)
        if check.fails(self.tolerance):
            allowed = f"{100 * self.tolerance.labels:g} % and {self.tolerance.logits:g}"
            raise ExportError(
                f"{self.format.runtime} and PyTorch disagree: {check} (allowed: {allowed})"
            )
        return check


def compare(
    reference: Callable[[Tensor], Tensor],
    run: Callable[[Tensor], Tensor],
    images: Tensor,
    decode: Callable[[Tensor], Tensor],
) -> Check:
    """Compare two runners of one network on `images` (N, 3, H, W). Raises ExportError where the second fails."""
    expected = reference(images)
    try:
        got = run(images)
    except Exception as error:  # runtimes have exceptions of their own
        raise ExportError(f"the file does not run on {tuple(images.shape)}: {error}") from error
    if got.shape != expected.shape:
        raise ExportError(
            f"the file returns {tuple(got.shape)} for {tuple(images.shape)}, not {tuple(expected.shape)}"
        )
    largest = expected.abs().max().clamp(min=1e-12)
    labels = (decode(got) != decode(expected)).double().mean()
    logits = (got - expected).abs().max() / largest
    return Check((images.shape[2], images.shape[3]), images.shape[0], float(labels), float(logits))


def describe(architecture: Architecture, data: Any, size: tuple[int, int]) -> dict[str, str]:
    """Return what a user of the file needs to know, as text by name: how to prepare images and read labels."""
    values: dict[str, Any] = {
        "input": {
            "name": "image",
            "layout": "NCHW",
            "colour": "RGB",
            "size": list(size),
            "scale": 255,
        },
        "mean": list(data.mean),
        "std": list(data.std),
        "classes": list(data.classes),
        "palette": data.palette.tolist(),
        "architecture": json.loads(architecture.text),
    }
    return {"architecture_id": architecture.id} | {
        name: json.dumps(value) for name, value in values.items()
    }


def trace_size(architecture: Architecture, size: tuple[int, int]) -> tuple[int, int]:
    """Return a size (H, W) to trace at: `size`, or larger where a map would be one pixel, which tracing would fix."""
    steps, _ = Planner((PROBE, PROBE)).plan(architecture).steps()
    top = max(PROBE // step.leaf.shape[1] for step in steps)
    return max(size[0], 2 * top), max(size[1], 2 * top)


def odd(size: tuple[int, int]) -> tuple[int, int]:
    """Return another size (H, W), odd both ways and of another shape."""
    height, width = size
    return height * 3 // 4 | 1, width * 5 // 8 | 1


def _images(domain: Any, data: Any, size: tuple[int, int], count: int) -> Tensor:
    """Return the first images of the reporting split, prepared as in training, (count, 3, H, W)."""
    samples = data.splits[data.reporting][:count]
    with tempfile.TemporaryDirectory() as folder:
        prepared = domain.prepare(data, samples, size, Path(folder))
        batch, _ = next(iter(domain.validation(prepared, count, torch.device("cpu"))))
    return batch  # type: ignore[no-any-return]
