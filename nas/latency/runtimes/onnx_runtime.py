"""ONNX Runtime: the graph as it is exported, optimised and fused by the runtime; its own profiler times the kernels.

The targets "onnxruntime" on a GPU and "tensorrt" take the execution provider of that name.
"""

from __future__ import annotations

import json
import statistics
import tempfile
from collections import defaultdict
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from nas.errors import LatencyError
from nas.formats import find as find_format
from nas.latency.runtimes import Session
from nas.latency.runtimes.eager import placed
from nas.latency.runtimes.owners import owners
from nas.network import Network

if TYPE_CHECKING:
    from nas.latency.target import Target

WARM_UP = 3
KERNEL = "_kernel_time"


def session(network: nn.Module, target: Target, *, profiled: bool = False) -> Session:
    """Return a session of the exported network. Raises LatencyError where it cannot be exported or run so."""
    held = ExitStack()
    try:
        folder = Path(held.enter_context(tempfile.TemporaryDirectory(prefix="nas-onnx-")))
        file, images = write(network, target, folder)
        loaded = _load(file, target, profiled)
        run = _bound(loaded, images, target)
    except BaseException:
        held.close()
        raise
    if not profiled:
        return Session(run=run, held=held)
    names = network.leaf_names if isinstance(network, Network) else ()
    return Session(run=run, held=held, profile=partial(_profile, loaded, run, file, names))


def write(network: nn.Module, target: Target, folder: Path) -> tuple[Path, torch.Tensor]:
    """Export the network to `folder`/network.onnx, its size fixed; return the file and images (N, 3, H, W)."""
    network, images = placed(network, target)
    file = folder / "network.onnx"
    example = images if len(images) > 1 else images.repeat(2, 1, 1, 1)
    find_format("onnx").write(network, example, file, dynamic=False, metadata={})
    return file, images


def _load(file: Path, target: Target, profiled: bool) -> Any:
    try:
        import onnxruntime as ort
    except ImportError:
        raise LatencyError(
            'ONNX Runtime is not installed: pip install -c constraints.txt -e ".[onnx]"'
        ) from None
    providers = _providers(ort, target)
    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = target.threads, 1
    options.log_severity_level = 3
    options.add_free_dimension_override_by_name("batch", target.batch)
    if profiled:
        options.enable_profiling = True
        options.profile_file_prefix = str(file.with_name("profile"))
        options.optimized_model_filepath = str(optimised(file))
    try:
        return ort.InferenceSession(str(file), options, providers=providers)
    except Exception as error:  # the runtime's exceptions have no public root
        raise LatencyError(f"ONNX Runtime does not take the network on {target}: {error}") from error


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


def _bound(loaded: Any, images: torch.Tensor, target: Target) -> Callable[[], object]:
    """Return what evaluates once, with input and output where the device has them: no copy is timed."""
    import onnxruntime as ort

    place = ("cuda", torch.device(target.device).index or 0) if target.is_cuda else ("cpu", 0)
    if target.dtype == "bfloat16":
        raise LatencyError(f"target {target}: numpy has no bfloat16 to hand over; take float16")
    binding = loaded.io_binding()
    binding.bind_ortvalue_input("image", ort.OrtValue.ortvalue_from_numpy(images.cpu().numpy(), *place))
    binding.bind_output("logits", *place)

    def run() -> None:
        loaded.run_with_iobinding(binding)
        binding.synchronize_outputs()

    return run


def optimised(file: Path) -> Path:
    """Where the runtime writes the graph that it really runs."""
    return file.with_suffix(".optimised.onnx")


def _profile(
    loaded: Any, run: Callable[[], object], file: Path, leaves: tuple[str, ...], runs: int
) -> Mapping[str, float]:
    """Return the median milliseconds of each leaf's kernels, layout changes included. Ends the session's profiling."""
    for _ in range(WARM_UP + runs):
        run()
    events = json.loads(Path(loaded.end_profiling()).read_text(encoding="utf-8"))
    taken: dict[tuple[int, str], list[float]] = defaultdict(list)
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith(KERNEL):
            node = (int(event["args"]["node_index"]), event["name"].removesuffix(KERNEL))
            taken[node].append(event["dur"] / 1000)
    owner = owners(file, optimised(file), leaves)
    sums = dict.fromkeys(leaves, 0.0)
    for (_, name), values in taken.items():
        if name in owner:
            sums[owner[name]] += statistics.median(values[WARM_UP:])
    return sums
