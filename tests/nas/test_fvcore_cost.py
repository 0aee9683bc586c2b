"""fvcore beside our own count."""

from __future__ import annotations

from pathlib import Path

import pytest
from torch import Tensor, nn

from nas import fvcore_cost, registry
from nas.architecture import load_architecture
from nas.cost import cost
from nas.errors import NasError
from nas.fields import Place
from nas.registry import load


@pytest.mark.parametrize("name", ["fcn_resnet18", "deeplabv3plus_resnet18"])
def test_convolutions_are_ours_and_the_total_has_more(name: str) -> None:
    architecture = load_architecture(name)
    counted = fvcore_cost.fvcore_cost(architecture, (64, 96))
    assert counted.convolutions == cost(architecture, (64, 96)).macs
    assert counted.total == sum(counted.by_operator.values()) > counted.convolutions


TREE = {
    "task": {"semantic": {"classes": 3}},
    "input": [3, 32, 64],
    "encoder": {"stages": {"stem": 8, "stages": [{"width": 8, "blocks": [{"attend": {}}]}]}},
    "decoders": {"semantic": {"head": {"fcn": {"width": 8, "finest": 4}}}},
}


def test_attention_and_padding_by_name_agree_too(monkeypatch: pytest.MonkeyPatch) -> None:
    load()
    monkeypatch.setattr(registry, "KINDS", dict(registry.KINDS))

    @registry.kind("attend", "cell")
    class Attend(nn.Module):
        """Attention over all pixels, what comes in pooled to the stride first."""

        def __init__(self, channels: int, *, width: Place[int], stride: Place[int] = 1) -> None:
            super().__init__()
            self.conv = nn.Conv2d(channels, width, 3, padding="same")
            self.pool = nn.MaxPool2d(3, stride, 1)
            self.attention = nn.MultiheadAttention(width, 2, batch_first=True)

        def forward(self, x: Tensor) -> Tensor:
            x = self.pool(self.conv(x))
            pixels = x.flatten(2).transpose(1, 2)
            return x + self.attention(pixels, pixels, pixels)[0].transpose(1, 2).view_as(x)

    counted = fvcore_cost.fvcore_cost(TREE, (32, 64))
    ours = cost(TREE)
    (attend,) = (node.macs for node in ours.nodes if node.kind == "attend")
    pixels = 8 * 16
    assert attend == (9 * 8 * 8 * 16 * 32 + 4 * 8 * 8 * pixels + 2 * 8 * pixels * pixels)
    assert counted.convolutions == ours.macs
    assert sum(counted.added.values()) == attend


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
