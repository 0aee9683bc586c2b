"""Networks wired by hand from leaves whose maps all have one size, so that what they hold can be counted by hand."""

from __future__ import annotations

from collections.abc import Mapping

import pytest
import torch
from torch import Tensor, nn

from nas import registry
from nas.plan import Feature, Net, Plan, Planner
from nas.registry import kind

SIZE = (20, 31)
MAP = 4 * 3 * SIZE[0] * SIZE[1]
"""Bytes of an image, and of every map of the hand-made networks."""


class Sum(nn.Module):
    def __init__(self, channels: tuple[int, ...]) -> None:
        super().__init__()

    def forward(self, *xs: Tensor) -> Tensor:
        return sum(xs[1:], start=xs[0])


class Relu(nn.Module):
    def __init__(self, channels: int) -> None:
        super().__init__()

    def forward(self, x: Tensor) -> Tensor:
        return x.relu()


class Same(Relu):
    def forward(self, x: Tensor) -> Tensor:
        return x


class View(Relu):
    def forward(self, x: Tensor) -> Tensor:
        return x[:, [0, 1, 2][0] :]


class Cut(Relu):
    """Half of twice the map: the output is a part of a storage of twice its size."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([x, x], 1)[:, :3]


class Busy(Relu):
    """Holds three maps at its busiest, of which its output is one."""

    def forward(self, x: Tensor) -> Tensor:
        return x.relu() * x.relu()


class Scale(Relu):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.weight = nn.Parameter(torch.ones(()))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.weight


class Attend(Relu):
    """Attention of every pixel to every other, whose scores are 200 maps where they are written down."""

    def pixels(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)[:, None].contiguous()

    def forward(self, x: Tensor) -> Tensor:
        pixels = self.pixels(x)
        mixed = nn.functional.scaled_dot_product_attention(pixels, pixels, pixels)
        return mixed[:, 0].transpose(1, 2).reshape(x.shape)


class AttendWritten(Attend):
    """The same in a layout that the fused kernel does not take."""

    def pixels(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)[:, None]


class UpAndDown(Relu):
    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        self.up = nn.ConvTranspose2d(channels, 24, 2, 2)
        self.down = nn.Conv2d(24, channels, 3, 2, 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.up(x))  # type: ignore[no-any-return]


@pytest.fixture
def wired(monkeypatch: pytest.MonkeyPatch) -> None:
    """A registry whose root wires leaves as its tree says: {name: [kind, input, ...]}; "x" is the image."""
    monkeypatch.setattr(registry, "KINDS", {})
    for leaf in (Sum, Relu, Same, View, Cut, Busy, Scale, Attend, AttendWritten, UpAndDown):
        kind(leaf.__name__.lower(), "cell")(leaf)

    @kind("network", "root")
    def network(net: Net, *, wires: Mapping[str, list[str]]) -> dict[str, Feature]:
        made = {"x": net.image}
        for name, (what, *inputs) in wires.items():
            made[name] = net.add(name, {what: {}}, *(made[i] for i in inputs))
        return {"logits": made[name]}


def planned(**wires: list[str]) -> Plan:
    return Planner(SIZE).plan({"wires": wires})
