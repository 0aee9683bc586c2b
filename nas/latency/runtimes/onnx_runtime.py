"""ONNX Runtime: the graph as it is exported, optimised and fused by the runtime; its own profiler times the kernels.

The targets "onnxruntime" on a GPU and "tensorrt" take the execution provider of that name.
"""

from __future__ import annotations

import json
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from numpy.typing import NDArray
from torch import nn

from nas.errors import ExportError, LatencyError
from nas.formats.onnx import export_program
from nas.latency.runtimes import Session
from nas.latency.runtimes.eager import placed
from nas.latency.runtimes.owners import owners
from nas.network import Network

if TYPE_CHECKING:
    from nas.latency.target import Target

WARM_UP = 3
KERNEL = "_kernel_time"


def session(network: nn.Module, target: Target) -> Session:
    """Return a session of the exported network. Raises LatencyError where it cannot be exported or run so."""
    if target.dtype == "bfloat16":
        raise LatencyError(f"target {target}: numpy has no bfloat16 to hand over; take float16")
    held = ExitStack()
    try:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="nas-onnx-")))
        images = write(network, target, folder / "network.onnx").numpy()
        graph = _Graph(folder / "network.onnx", images, target)
        run = _bound(graph.load(), graph)
    except BaseException:
        held.close()
        raise
    names = network.leaf_names if isinstance(network, Network) else ()
    return Session(run=run, held=held, profile=partial(_profile, graph, names))


def write(network: nn.Module, target: Target, file: Path) -> torch.Tensor:
    """Export the network with its size and batch fixed; return images (N, 3, H, W) for it, on the CPU."""
    network, images = placed(network, replace(target, device="cpu"))
    try:
        export_program(network, images, {}).save(str(file), external_data=False)
    except ExportError as error:
        raise LatencyError(f"target {target}: {error}") from error
    return images


@dataclass(frozen=True)
class _Graph:
    """An exported file, with images for it and the target to run it on."""

    file: Path
    images: NDArray[Any]
    target: Target

    @property
    def optimised(self) -> Path:
        """Where the runtime writes the graph that it really runs."""
        return self.file.with_suffix(".optimised.onnx")

    def load(self, profiled: bool = False) -> Any:
        """Return the runtime's own session."""
        return _load(self, profiled)


def _load(graph: _Graph, profiled: bool) -> Any:
    try:
        import onnxruntime as ort
    except ImportError:
        raise LatencyError(
            'ONNX Runtime is not installed: pip install -c constraints.txt -e ".[onnx]"'
        ) from None
    target = graph.target
    providers = _providers(ort, target)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = target.threads, 1
    options.log_severity_level = 3
    if profiled:
        options.enable_profiling = True
        options.profile_file_prefix = str(graph.file.with_name("profile"))
        options.optimized_model_filepath = str(graph.optimised)
    try:
        return ort.InferenceSession(str(graph.file), options, providers=providers)
    except Exception as error:  # the runtime's exceptions have no public root
        raise LatencyError(
            f"ONNX Runtime does not take the network on {target}: {error}"
        ) from error


def _providers(ort: Any, target: Target) -> list[str]:
    """Return the provider of a target, refused where this build does not have it."""
    wanted = "CPUExecutionProvider" if not target.is_cuda else "CUDAExecutionProvider"
    if target.runtime == "tensorrt":
        wanted = "TensorrtExecutionProvider"
    known = ort.get_available_providers()
    if wanted not in known:
        raise LatencyError(
            f"target {target}: the installed ONNX Runtime has no {wanted} (it has {', '.join(known)}); "
            "GPUs need the package onnxruntime-gpu"
        )
    return [wanted]


def _bound(loaded: Any, graph: _Graph) -> Callable[[], object]:
    """Return what evaluates once, with input and output where the device has them: no copy is timed."""
    import onnxruntime as ort

    device = torch.device(graph.target.device)
    place = (device.type, device.index or 0)
    binding = loaded.io_binding()
    binding.bind_ortvalue_input("image", ort.OrtValue.ortvalue_from_numpy(graph.images, *place))
    binding.bind_output("logits", *place)

    def run() -> None:
        loaded.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return run


def _profile(graph: _Graph, leaves: tuple[str, ...], runs: int) -> Mapping[str, float]:
    """Return the milliseconds of each leaf's kernels, the fastest of each, changes of layout included."""
    loaded = graph.load(profiled=True)
    run = _bound(loaded, graph)
    for _ in range(WARM_UP + runs):
        run()
    events = json.loads(Path(loaded.end_profiling()).read_text(encoding="utf-8"))
    taken: dict[tuple[int, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
            node = (int(event["args"]["node_index"]), event["name"].removesuffix(KERNEL))
            taken[node].append(event["dur"] / 1000)
    owner = owners(graph.file, graph.optimised, leaves)
    sums = dict.fromkeys(leaves, 0.0)
    for (_, name), values in taken.items():
        if name in owner:
            sums[owner[name]] += min(values[WARM_UP:])
    return sums
