"""OpenVINO on a CPU: reads the exported ONNX file; inference in the precision that the target says."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import nn

from nas.errors import LatencyError
from nas.latency.runtimes import Session
from nas.latency.runtimes.onnx_runtime import write

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from nas.latency.target import Target

PRECISIONS = {"float32": "f32", "float16": "f16", "bfloat16": "bf16"}


def session(network: nn.Module, target: Target) -> Session:
    """Return a session of the network as OpenVINO compiles it; it fuses across leaves: no profile."""
    if target.is_cuda:
        raise LatencyError(
            f"target {target}: OpenVINO does not run on NVIDIA GPUs; take onnxruntime"
        )
    with tempfile.TemporaryDirectory(prefix="nas-onnx-") as folder:
        file = Path(folder) / "network.onnx"
        images = write(network, replace(target, dtype="float32"), file)
        return Session(run=_request(file, images.numpy(), target))


def _request(file: Path, images: NDArray[Any], target: Target) -> Callable[[], object]:
    try:
        import openvino as ov
    except ImportError:
        raise LatencyError(
            "OpenVINO is not installed: pip install -c constraints.txt openvino"
        ) from None
    core = ov.Core()
    settings = {
        "INFERENCE_NUM_THREADS": target.threads,
        "NUM_STREAMS": 1,
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_PRECISION_HINT": PRECISIONS[target.dtype],
    }
    try:
        model = core.read_model(str(file))
        model.reshape(list(images.shape))
        request = core.compile_model(model, "CPU", settings).create_infer_request()
    except RuntimeError as error:
        raise LatencyError(f"OpenVINO does not take the network on {target}: {error}") from error
    request.set_input_tensor(ov.Tensor(images))
    infer: Callable[[], object] = request.infer
    return infer
