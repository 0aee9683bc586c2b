"""Plain data as YAML that a person can read and that `nas.language.document` reads back to the same data."""

from __future__ import annotations

from typing import Any

import yaml

from nas.language.document import scalar

WIDTH = 110


def to_yaml(data: Any) -> str:
    """Return `data` as YAML: short mappings and lists on one line, long ones in blocks."""
    return yaml.dump(
        _Layout(data).value, Dumper=_Dumper, sort_keys=False, width=WIDTH + 20, allow_unicode=True
    )


class _Flow(dict[Any, Any]):
    """A mapping that is written on one line."""


class _FlowList(list[Any]):
    """A list that is written on one line."""


class _Layout:
    """Marks what fits on one line."""

    def __init__(self, data: Any) -> None:
        self.value = self._mark(data, 0)

    def _mark(self, data: Any, level: int) -> Any:
        if not isinstance(data, dict | list) or not data:
            return data
        if level > 0 and _length(data) <= WIDTH - 2 * level:
            return _flow(data)
        if isinstance(data, dict):
            return {k: self._mark(v, level + 1) for k, v in data.items()}
        return [self._mark(v, level + 1) for v in data]


def _flow(data: Any) -> Any:
    if isinstance(data, dict):
        return _Flow({k: _flow(v) for k, v in data.items()})
    return _FlowList(map(_flow, data)) if isinstance(data, list) else data


def _length(data: Any) -> int:
    """Return roughly how many characters `data` takes on one line."""
    if isinstance(data, dict):
        return sum(len(str(k)) + _length(v) + 4 for k, v in data.items())
    if isinstance(data, list):
        return sum(_length(v) + 2 for v in data)
    return len(str(data))


class _Dumper(yaml.SafeDumper):
    """Quotes every string that YAML 1.2 would read as something else; writes no aliases."""

    def ignore_aliases(self, _data: Any) -> bool:
        return True


def _string(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    try:
        quoted = scalar(text) != text or not text.isprintable()
    except ValueError:
        quoted = True
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"' if quoted else None)


def _float(dumper: _Dumper, number: float) -> yaml.ScalarNode:
    text = repr(number)
    mantissa, e, exponent = text.partition("e")
    text = f"{mantissa}.0e{exponent}" if e and "." not in mantissa else text
    return dumper.represent_scalar("tag:yaml.org,2002:float", text)


def _flow_mapping(dumper: _Dumper, data: _Flow) -> yaml.MappingNode:
    return dumper.represent_mapping("tag:yaml.org,2002:map", data, flow_style=True)


def _flow_list(dumper: _Dumper, data: _FlowList) -> yaml.SequenceNode:
    return dumper.represent_sequence("tag:yaml.org,2002:seq", data, flow_style=True)


_Dumper.add_representer(str, _string)
_Dumper.add_representer(float, _float)
_Dumper.add_representer(_Flow, _flow_mapping)
_Dumper.add_representer(_FlowList, _flow_list)
