"""fvcore beside our own count."""

from __future__ import annotations

from pathlib import Path

import pytest

from nas import fvcore_cost
from nas.architecture import load_architecture
from nas.cost import cost
from nas.errors import NasError


@pytest.mark.parametrize("name", ["fcn_resnet18", "deeplabv3plus_resnet18"])
def test_convolutions_are_ours_and_the_total_has_more(name: str) -> None:
    architecture = load_architecture(name)
    counted = fvcore_cost.fvcore_cost(architecture, (64, 96))
    assert counted.convolutions == cost(architecture, (64, 96)).macs
    assert counted.total == sum(counted.by_operator.values()) > counted.convolutions


def test_memory_grows_with_the_image_and_holds_the_weights() -> None:
    architecture = load_architecture("fcn_resnet18")
    small, large = (
        fvcore_cost.memory_needed(architecture, size) for size in ((1280, 1280), (2560, 2560))
    )
    weights = 4 * cost(architecture, (64, 64)).params
    assert large - weights == pytest.approx(4 * (small - weights), rel=0.05)


def test_memory_available_is_read_from_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "meminfo"
    file.write_text("MemTotal: 100 kB\nMemAvailable:      42 kB\n")
    monkeypatch.setattr(fvcore_cost, "MEMINFO", file)
    assert fvcore_cost.memory_available() == 42 * 1024
    monkeypatch.setattr(fvcore_cost, "MEMINFO", tmp_path / "none")
    assert fvcore_cost.memory_available() is None


def test_refusal_names_both_amounts() -> None:
    fvcore_cost.refuse_without_memory(2**30, None)
    fvcore_cost.refuse_without_memory(2**30, 2**30)
    with pytest.raises(NasError, match=r"3\.0 GiB, and 2\.0 GiB are available"):
        fvcore_cost.refuse_without_memory(3 * 2**30, 2 * 2**30)
