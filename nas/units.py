"""What a network may cost: the names, units and texts of costs, and how a person writes a limit on one."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from nas.errors import LimitError

_NUMBER = r"(\d+(?:\.\d*)?|\.\d+)\s*"
_MULTIPLES = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}
_COUNT = re.compile(_NUMBER + r"([kKmMgGtT]?)")
_BYTES = re.compile(_NUMBER + r"([kKmMgGtT]?)(i?)[bB]?")
_TIME = re.compile(_NUMBER + r"(ms|s|us)?")
_MILLISECONDS = {"ms": 1.0, "s": 1000.0, "us": 0.001}


def parse_count(text: str | float) -> int:
    """Return the whole number that "2G", "1.5M", "300k" or 2000000 says (decimal multiples), at least 1."""
    found = _match(
        _COUNT, text, "a count: expected a number, with K, M, G or T if wanted, e.g. 2G or 1.5M"
    )
    return _whole(text, float(found[1]) * _MULTIPLES[found[2].upper()], "2G, 1.5M, 300k")


def parse_bytes(text: str | float) -> int:
    """Return the bytes that "200M", "200MB" (decimal), "200MiB" (binary) or 200000000 says, at least 1."""
    found = _match(_BYTES, text, "an amount of memory: expected e.g. 200M, 200MB or 200MiB")
    power = list(_MULTIPLES).index(found[2].upper())
    return _whole(text, float(found[1]) * (1024 if found[3] else 1000) ** power, "200MB, 1.5GiB")


def parse_time(text: str | float) -> float:
    """Return the milliseconds that "20ms", "0.02s", "900us" or 20 (milliseconds) says, above 0."""
    found = _match(_TIME, text, "a latency: expected e.g. 20ms or 0.02s")
    value = float(found[1]) * _MILLISECONDS[found[2] or "ms"]
    if value <= 0:
        raise LimitError(f"{text!r} is not a limit: expected a time above zero, e.g. 20ms")
    return value


def _match(pattern: re.Pattern[str], text: str | float, what: str) -> re.Match[str]:
    written = text.strip().replace("_", "") if isinstance(text, str) else f"{text:f}"
    found = pattern.fullmatch(written)
    if found is None:
        raise LimitError(f"{text!r} is not {what}")
    return found


def _whole(text: str | float, value: float, examples: str) -> int:
    value = round(value, 6)
    if value < 1 or value != round(value):
        raise LimitError(
            f"{text!r} is not a limit: expected a whole number from 1, e.g. {examples}"
        )
    return round(value)


def show_count(value: float) -> str:
    """Return 1234567 as "1.23 M"; whole numbers under a thousand as they are."""
    for suffix, multiple in (("T", 1e12), ("G", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= multiple * 0.9995:
            return f"{value / multiple:.3g} {suffix}"
    return f"{value:g}"


def show_bytes(value: float) -> str:
    """Return a number of bytes in GiB, MiB or KiB."""
    for suffix, multiple in (("GiB", 2**30), ("MiB", 2**20)):
        if value >= multiple:
            return f"{value / multiple:.4g} {suffix}"
    return f"{value / 2**10:.4g} KiB"


def show_time(value: float) -> str:
    """Return milliseconds as "12.3 ms"."""
    return f"{value:.3g} ms" if value < 1000 else f"{value:.0f} ms"


@dataclass(frozen=True, slots=True)
class CostKind:
    """How a cost is called in tables, read from a person and shown to one."""

    title: str
    parse: Callable[[str | float], float]
    show: Callable[[float], str]


COSTS: dict[str, CostKind] = {
    "macs": CostKind("MACs", parse_count, show_count),
    "params": CostKind("params", parse_count, show_count),
    "memory": CostKind("memory", parse_bytes, show_bytes),
    "latency": CostKind("latency", parse_time, show_time),
}
"""MACs and parameters are counts, memory is bytes of activations at once, latency milliseconds on a target."""


def parse_cost(name: str, text: str | float) -> float:
    """Return the limit on cost `name` that `text` says, in the cost's unit; raises LimitError."""
    return COSTS[name].parse(text)


def show_cost(name: str, value: float) -> str:
    """Return an amount of cost `name` with its unit."""
    return COSTS[name].show(value)
