"""A network, a task and batches that are as small as they can be."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from nas.network import Output
from search_spaces.tasks import Semantic

CLASSES = ("road", "sky", "car")
TASK = Semantic(CLASSES, np.array([[128, 64, 128], [70, 130, 180], [0, 0, 142]], np.uint8))


class Toy(nn.Module):
    """Two convolutions with batch norm and dropout, and an auxiliary head."""

    def __init__(self, dropout: float = 0.1) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 8, 3, 1, 1, bias=False)
        self.norm = nn.BatchNorm2d(8)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Conv2d(8, 3, 1)
        self.aux = nn.Conv2d(8, 3, 1)

    def forward(self, image: Tensor) -> Any:
        x = self.dropout(self.norm(self.conv(image)).relu())
        return Output(self.head(x), {"aux": self.aux(x)}) if self.training else self.head(x)


def toy(seed: int = 0, dropout: float = 0.1) -> Toy:
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Toy(dropout)


def batches(epoch: int, number: int = 3) -> Iterator[tuple[Tensor, Tensor]]:
    """Images whose class can be read off their colours; the same for the same epoch."""
    generator = torch.Generator().manual_seed(1000 + epoch)
    for _ in range(number):
        labels = torch.randint(0, 3, (2, 8, 8), generator=generator)
        noise = torch.randn(2, 3, 8, 8, generator=generator) * 0.1
        images = nn.functional.one_hot(labels, 3).permute(0, 3, 1, 2) + noise
        labels[:, 0] = 255
        yield images, labels


def tiny_tree(classes: int = 3, size: tuple[int, int] = (32, 64)) -> dict[str, Any]:
    """A real architecture of some thousand parameters, with an auxiliary head and dropout."""
    block = {"mbconv": {"expand": 2}}
    head = {"fcn": {"width": 8, "dropout": 0.1}}
    stages = [{"width": 8, "blocks": [block]}, {"width": 16, "blocks": [block, block]}]
    return {
        "task": {"semantic": {"classes": classes}},
        "input": [3, *size],
        "encoder": {"stages": {"stem": 8, "stages": stages}},
        "decoders": {
            "semantic": {"head": head, "auxiliary": {"s4": {"fcn": {"width": 8, "finest": 4}}}}
        },
    }
