"""ONNX, by the exporter that traces with `torch.export`; run by ONNX Runtime."""

from __future__ import annotations

import importlib
import logging
import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nas.errors import ExportError

if TYPE_CHECKING:
    from torch import Tensor, nn

INSTALL = 'pip install -c constraints.txt -e ".[onnx]"'


class Onnx:
    """`.onnx` with one input "image" (N, 3, H, W) and one output "logits" (N, classes, H, W)."""

    suffix = ".onnx"
    runtime = "ONNX Runtime"

    def write(
        self,
        network: nn.Module,
        example: Tensor,
        path: Path,
        *,
        dynamic: bool,
        metadata: Mapping[str, str],
    ) -> None:
        axes = {0: "batch", 2: "height", 3: "width"} if dynamic else {0: "batch"}
        program = export_program(network, example, axes)
        program.model.metadata_props.update(metadata)
        program.save(str(path), external_data=False)

    def open(self, path: Path, threads: int) -> Callable[[Tensor], Tensor]:
        import torch

        runtime: Any = _require("onnxruntime")
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        session = runtime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])

        def run(images: Tensor) -> Tensor:
            return torch.from_numpy(session.run(None, {"image": images.numpy()})[0])

        return run


def export_program(network: nn.Module, example: Tensor, axes: Mapping[int, str]) -> Any:
    """Return the ONNX program of a network, traced on `example` (N, 3, H, W), with the axes in `axes` dynamic.

    Raises ExportError where tracing fixed one of them.
    """
    import torch

    _require("onnxscript")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.onnx.export(
            network,
            (example,),
            dynamo=True,
            dynamic_shapes=(dict(axes),) if axes else None,
            input_names=["image"],
            output_names=["logits"],
            verbose=False,
        )
    if program is None:
        raise ExportError(
            "torch.onnx.export returned nothing; is its `dynamo` exporter switched off?"
        )
    shape: Any = program.model.graph.inputs[0].shape
    fixed = [name for axis, name in axes.items() if str(shape[axis]).isdigit()]
    if fixed:
        raise ExportError(
            f"tracing fixed {', '.join(fixed)}: a layer computes with the size itself"
        )
    return program


def _require(name: str) -> Any:
    """Import an optional library; raises ExportError with the command that installs it."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ExportError(f"ONNX needs {name}, which is not installed: {INSTALL}") from error
