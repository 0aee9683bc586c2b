"""The evaluator that scores nothing: it finds out whether a machine can run the trials that are to come."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from nas.architecture import Architecture
from nas.asked import digest
from nas.errors import DataError, RunError
from nas.evaluators import evaluator
from nas.job import Job
from nas.registry import domain
from nas.run import versions


@evaluator("node_check")
class NodeCheck:
    """Compares PyTorch, accelerator and data with those of the driver, which stand in `job.given`.

    `given` has "torch", its version, "data", the digest of the data set or None, and "files", paths
    of what else is to lie there.
    Raises RunError or DataError where the machine has others.
    """

    def evaluate(
        self,
        architecture: Architecture,  # noqa: ARG002 - there is none
        job: Job,
        stop: Callable[[], bool],  # noqa: ARG002 - it is done in no time
    ) -> Iterator[Mapping[str, Any]]:
        """Yield once."""
        here, wanted = versions()["torch"], job.given["torch"]
        if _release(here) != _release(wanted):
            raise RunError(f"it has torch {here}, the driver {wanted}; install the same there")
        if job.device.startswith("cuda") and not torch.cuda.is_available():
            raise RunError(
                f"trials run on {job.device}, but a worker sees no GPU there; give each trial one (--gpus-per-trial),"
                " or add --device cpu"
            )
        for file in job.given["files"]:
            if not Path(file).is_file():
                raise DataError(f"there is no {file} there; put it at the same path")
        if job.given["data"] is not None:
            _check_data(job)
        yield {"fit": 1}


def _release(version: str) -> str:
    """Return a version without its build: processors and accelerators have their own."""
    return version.partition("+")[0]


def _check_data(job: Job) -> None:
    """Raise DataError unless the data set lies at the same path with the same samples."""
    data = domain().open_data(job.data)
    if (here := digest(data)) != job.given["data"]:
        counts = ", ".join(f"{name} {len(samples)}" for name, samples in data.splits.items())
        raise DataError(
            f"{job.data} there is not the driver's: it has {len(data.classes)} classes and {counts} images, or other"
            f" names (digest {here}, expected {job.given['data']}); put the same data set at the same path"
        )
