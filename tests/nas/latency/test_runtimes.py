"""Every runtime: it runs the network, it is timed, and what it says of the leaves adds up."""

from __future__ import annotations

import json
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from nas import latency, registry
from nas.errors import LatencyError
from nas.latency import runtimes
from nas.latency.make_table import held
from nas.latency.runtimes.owners import owners
from nas.latency.target import Target
from nas.network import build

SIZE = (64, 96)
INSTALLED = [
    pytest.param("eager"),
    pytest.param("eager,memory_format=channels_last,dtype=bfloat16"),
    pytest.param("compiled", marks=pytest.mark.slow),
    *(
        pytest.param(
            name,
            marks=[pytest.mark.full, pytest.mark.skipif(not find_spec(name), reason=f"no {name}")],
        )
        for name in ("onnxruntime", "openvino")
    ),
]


def small():  # type: ignore[no-untyped-def]
    return registry.domain().reference_network().with_input((3, *SIZE))


@pytest.mark.parametrize("text", INSTALLED)
def test_a_runtime_runs_the_network_and_is_timed(text: str) -> None:
    target = Target.of(text, SIZE)
    with held(small(), replace(target, batch=2)) as session:
        sample = session.time()
        assert sample.wall_ms > 0
        assert sample.cpu_ms > 0
        if session.profile is None:
            return
        nodes = session.profile(3)
    assert set(nodes) == set(build(small(), SIZE).leaf_names)
    assert all(ms >= 0 for ms in nodes.values())
    assert sum(nodes.values()) > 0


def test_threads_are_put_back() -> None:
    before = torch.get_num_threads()
    with held(small(), Target.of("eager,threads=2", SIZE)):
        assert torch.get_num_threads() == 2
    assert torch.get_num_threads() == before


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("onnxruntime,dtype=bfloat16", "numpy has no bfloat16"),
        ("openvino,device=cuda", "does not run on NVIDIA GPUs"),
    ],
)
def test_what_a_runtime_cannot_do_is_said(text: str, message: str) -> None:
    target = Target.of(text, SIZE)
    with pytest.raises(LatencyError, match=message), held(small(), target):
        pass


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
@pytest.mark.parametrize("text", ["cuda", "compiled,device=cuda"])
def test_a_gpu_that_is_not_there_is_missed(text: str) -> None:
    with pytest.raises(LatencyError, match="no GPU"), held(small(), Target.of(text, SIZE)):
        pass


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
@pytest.mark.parametrize("text", ["cuda", "cuda,dtype=float16,memory_format=channels_last"])
def test_a_gpu_is_timed_by_its_own_clock(text: str) -> None:
    with held(small(), Target.of(text, SIZE)) as session:
        sample = session.time()
        assert sample.wall_ms > 0
        assert sample.cpu_ms == 0
        assert session.profile is not None
        assert sum(session.profile(3).values()) > 0


@pytest.mark.full
@pytest.mark.skipif(not find_spec("onnxruntime"), reason="no onnxruntime")
def test_every_kernel_of_onnx_runtime_that_takes_time_belongs_to_a_leaf(tmp_path: Path) -> None:
    import onnxruntime as ort

    from nas.latency.runtimes.onnx_runtime import write

    network = build(small(), SIZE, seed=0)
    file, best = tmp_path / "network.onnx", tmp_path / "best.onnx"
    images = write(network, Target(size=SIZE), file)
    options = ort.SessionOptions()
    options.enable_profiling, options.optimized_model_filepath = True, str(best)
    options.profile_file_prefix = str(tmp_path / "profile")
    loaded = ort.InferenceSession(str(file), options, providers=["CPUExecutionProvider"])
    for _ in range(4):
        loaded.run(None, {"image": images.numpy()})
    events = json.loads(Path(loaded.end_profiling()).read_text())
    kernels = [e for e in events if e.get("cat") == "Node" and e["name"].endswith("_kernel_time")]
    owned = owners(file, best, network.leaf_names)
    orphans = {e["name"] for e in kernels if e["name"].removesuffix("_kernel_time") not in owned}
    assert kernels
    assert orphans == set()
    assert set(owned.values()) <= set(network.leaf_names)


def test_networks_are_measured_beside_the_reference() -> None:
    architecture = small()
    (found,) = latency.latency(architecture, "eager", runs=4)
    assert found.measured is not None
    assert found.measured.runs == 4
    assert found.architecture_id == architecture.id
    assert found.conditions.target == Target.of("eager", SIZE)
    assert found.predicted is None


def test_a_table_predicts_beside_the_measurement_and_alone() -> None:
    pytest.importorskip("sklearn")
    from tests.nas.latency.synthetic import table

    made = table()
    (found,) = latency.latency(small(), table=made, measure=False)
    assert found.measured is None
    assert found.predicted is not None
    assert found.predicted.low < found.predicted.ms < found.predicted.high
    with pytest.raises(LatencyError, match="host: it has imaginary"):
        latency.latency(small(), "eager", table=made, runs=1)


def test_runtimes_by_name_are_all_there() -> None:
    from nas.latency.target import RUNTIMES

    assert set(runtimes.MODULES) == set(RUNTIMES)
    assert all(callable(runtimes.find(name)) for name in RUNTIMES)
