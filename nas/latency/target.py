"""What latency is measured on: a runtime and a device, and under which conditions."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from importlib import metadata
from typing import Any, Literal, get_args

from nas.errors import LatencyError, suggest
from nas.run import processor

RUNTIMES: dict[str, tuple[str, ...]] = {
    "eager": (),
    "compiled": (),
    "onnxruntime": ("onnxruntime", "onnxruntime-gpu"),
    "openvino": ("openvino",),
    "tensorrt": ("tensorrt", "onnxruntime-gpu"),
}
"""Runtimes by name, with the distributions whose versions a measurement depends on, beside PyTorch."""
SHORT = {
    "cpu": {"runtime": "eager"},
    "cuda": {"runtime": "eager", "device": "cuda"},
    "tensorrt": {"runtime": "tensorrt", "device": "cuda"},
}
Dtype = Literal["float32", "float16", "bfloat16"]
MemoryFormat = Literal["contiguous", "channels_last"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """How one evaluation is run. `size` is (H, W) of the images, `threads` are those of the CPU."""

    runtime: str = "onnxruntime"
    device: str = "cpu"
    dtype: str = "float32"
    batch: int = 1
    threads: int = 1
    memory_format: str = "contiguous"
    size: tuple[int, int] = (0, 0)

    def __post_init__(self) -> None:
        _one_of("runtime", self.runtime, RUNTIMES)
        _one_of("dtype", self.dtype, get_args(Dtype))
        _one_of("memory_format", self.memory_format, get_args(MemoryFormat))
        if min(self.batch, self.threads) < 1:
            raise LatencyError(f"{self}: batch and threads are whole numbers from 1")

    @classmethod
    def of(cls, text: str, size: tuple[int, int] = (0, 0)) -> Target:
        """Read "onnxruntime", "cuda" (eager there) or "onnxruntime,threads=2,batch=4"; raises LatencyError."""
        known = {f.name: f.type for f in fields(cls) if f.name != "size"}
        given: dict[str, Any] = {}
        for i, part in enumerate(p.strip() for p in text.split(",")):
            name, equals, value = part.partition("=")
            if not equals and i == 0:
                given |= SHORT.get(name, {"runtime": name})
                continue
            if not equals or name not in known:
                raise LatencyError(
                    f"target {text!r}: {part!r}: {suggest(name, known)}, each as name=value"
                )
            given[name] = _whole(text, name, value) if known[name] == "int" else value
        return cls(**given, size=size)

    def __str__(self) -> str:
        plain = Target()
        shown = (
            (f.name, getattr(self, f.name))
            for f in fields(self)
            if f.name not in {"runtime", "size"}
        )
        return ",".join([self.runtime, *(f"{n}={v}" for n, v in shown if v != getattr(plain, n))])

    @property
    def is_cuda(self) -> bool:
        """Whether it runs on an NVIDIA GPU."""
        return self.device.startswith("cuda")


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Everything that a latency depends on beside the network: target, host, versions, and the blocks' code.

    A field that nobody knows, as on a board that was timed by hand, is "".
    """

    target: Target
    host: str
    versions: Mapping[str, str]
    code: str

    @classmethod
    def here(cls, target: Target, code: str) -> Conditions:
        """Return the conditions of a measurement by this process on this machine."""
        return cls(target=target, host=host(target), versions=versions(target), code=code)

    def differences(self, other: Conditions) -> list[str]:
        """Return "what: has ..., wanted ..." for everything in which `other` differs from these."""
        mine, theirs = _flat(self), _flat(other)
        return [
            f"{name}: it has {mine.get(name) or 'nothing'}, wanted {theirs.get(name) or 'nothing'}"
            for name in sorted(mine.keys() | theirs.keys(), key=[*mine, *theirs].index)
            if mine.get(name) != theirs.get(name)
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return plain data."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Conditions:
        """Read what `to_dict` wrote; KeyError or TypeError where something is missing or odd."""
        target = Target(**{**data["target"], "size": tuple(data["target"]["size"])})
        return cls(
            target=target, host=data["host"], versions=dict(data["versions"]), code=data["code"]
        )


def default_target(size: tuple[int, int]) -> Target:
    """Return ONNX Runtime on one thread where it is installed, eager PyTorch elsewhere."""
    target = Target(size=size)
    return target if versions(target).get("onnxruntime") else replace(target, runtime="eager")


def host(target: Target) -> str:
    """Return the name of the processor, or GPU, that the target runs on."""
    if target.is_cuda:
        import torch

        return torch.cuda.get_device_name(target.device) if torch.cuda.is_available() else "no GPU"
    return processor()


def versions(target: Target) -> dict[str, str]:
    """Return the versions of PyTorch and of the runtime; what is not installed is left out."""
    found: dict[str, str] = {}
    for name in ("torch", *RUNTIMES[target.runtime]):
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[name] = metadata.version(name)
    return found


def _flat(conditions: Conditions) -> dict[str, Any]:
    target = {f.name: getattr(conditions.target, f.name) for f in fields(Target)}
    target["size"] = "x".join(map(str, conditions.target.size))
    rest = {
        "host": conditions.host,
        **{f"version of {n}": v for n, v in conditions.versions.items()},
    }
    return target | rest | {"version of the blocks' code": conditions.code}


def _one_of(name: str, value: str, known: Any) -> None:
    if value not in known:
        raise LatencyError(f"no {name} is called {value!r}; {suggest(value, known)}")


def _whole(text: str, name: str, value: str) -> int:
    if not value.isdigit():
        raise LatencyError(f"target {text!r}: {name} is a whole number, got {value!r}")
    return int(value)
