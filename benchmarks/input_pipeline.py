"""Images per second of training a tiny network: with the data pipeline, over a fixed batch in memory.

    python benchmarks/input_pipeline.py
    python benchmarks/input_pipeline.py --data camvid:DIR --size 180x240 --crop 160x208

Both run the same training steps, in turns of one epoch, so that whatever else the machine does falls on both. Prints
both rates and their ratio: 1 means that data cost nothing, and what is expected is 0.9 or more. The same ratio of
processor seconds, of all threads, stands beside it and hardly moves when the machine is shared (with `--threads 1`:
threads that wait for each other spin).
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional

from search_spaces.data import Prepared, batches, open_data, prepare

Batch = tuple[torch.Tensor, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What `batches` reads of a recipe, with the defaults of training."""

    batch: int
    crop: tuple[int, int]
    scale: tuple[float, float] = (0.5, 2.0)
    flip: float = 0.5
    photometric: float = 0.3


def separable(channels: int, width: int, stride: int) -> nn.Sequential:
    """Return a depthwise and a pointwise convolution, each with its norm."""
    return nn.Sequential(
        nn.Conv2d(channels, channels, 3, stride, 1, groups=channels, bias=False),
        nn.BatchNorm2d(channels),
        nn.Conv2d(channels, width, 1, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(inplace=True),
    )


class TinyNetwork(nn.Module):
    """Separable convolutions to stride 16 and back: about 20,000 parameters."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        self.stem = nn.Sequential(
            nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU(inplace=True)
        )
        self.s4 = nn.Sequential(separable(16, 32, 2), separable(32, 32, 1))
        self.s16 = nn.Sequential(
            separable(32, 64, 2), separable(64, 64, 1), separable(64, 64, 2), separable(64, 64, 1)
        )
        self.lateral, self.head = nn.Conv2d(64, 32, 1), nn.Conv2d(32, classes, 1)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        fine = self.s4(self.stem(image))
        coarse = functional.interpolate(
            self.lateral(self.s16(fine)), fine.shape[-2:], mode="bilinear"
        )
        return functional.interpolate(self.head(fine + coarse), image.shape[-2:], mode="bilinear")


@dataclass(frozen=True, slots=True)
class Rate:
    """Images per second, and per second of a processor."""

    wall: float
    processor: float


class Trainer:
    """Trains one tiny network and tells how fast."""

    def __init__(self, classes: int, device: torch.device) -> None:
        self.device = device
        network = TinyNetwork(classes).to(device)
        self.network = network.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.optimiser = torch.optim.AdamW(self.network.parameters(), 2e-3)

    def rate(self, taken: Iterable[Batch]) -> Rate:
        """Train on the batches and return how fast that was."""
        images = 0
        started, worked = time.perf_counter(), time.process_time()
        for image, mask in taken:
            loss = functional.cross_entropy(self.network(image), mask, ignore_index=255)
            self.optimiser.zero_grad()
            torch.autograd.backward(loss)
            self.optimiser.step()
            images += len(image)
        if self.device.type == "cuda":
            torch.cuda.synchronize()
        return Rate(
            images / (time.perf_counter() - started), images / (time.process_time() - worked)
        )


def measure(prepared: Prepared, recipe: Recipe, classes: int, asked: argparse.Namespace) -> None:
    """Print the rates of the rounds, one turn of each side per round, and the ratio of their medians."""
    device = torch.device(asked.device)
    torch.manual_seed(0)
    trainer = Trainer(classes, device)
    fixed = next(iter(batches(prepared, recipe, seed=0, epoch=0, device=device)))
    trainer.rate([fixed] * 5)
    rates: dict[str, list[Rate]] = {"fixed": [], "pipeline": []}
    for number in range(asked.rounds):
        turns = {
            "fixed": iter([fixed] * (len(prepared) // recipe.batch)),
            "pipeline": batches(prepared, recipe, seed=0, epoch=number, device=device),
        }
        for side in sorted(turns, reverse=bool(number % 2)):
            rates[side].append(trainer.rate(turns[side]))
    fixed_rates, fed_rates = rates["fixed"], rates["pipeline"]
    for name in ("wall", "processor"):
        pairs = [
            (getattr(p, name), getattr(f, name))
            for p, f in zip(fed_rates, fixed_rates, strict=True)
        ]
        ratios = sorted(p / f for p, f in pairs)
        fed_rate, fixed_rate = (statistics.median(r) for r in zip(*pairs, strict=True))
        print(f"images per {name} second: fixed batch {fixed_rate:.1f}, pipeline {fed_rate:.1f}")
        print(
            f"  ratio {statistics.median(ratios):.3f} (rounds: {ratios[0]:.3f} to {ratios[-1]:.3f})"
        )


def pair(text: str) -> tuple[int, int]:
    """Return (height, width) of "HEIGHTxWIDTH"."""
    height, width = map(int, text.split("x"))
    return height, width


def main() -> None:
    """Read the command line, prepare the data, measure."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--data", default="street:images=160")
    parser.add_argument(
        "--size", type=pair, default=(128, 256), help="of the prepared images (128x256)"
    )
    parser.add_argument("--crop", type=pair, help="of what is trained on (the size)")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--device", default="cpu")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    data = open_data(asked.data)
    recipe = Recipe(asked.batch, asked.crop or asked.size)
    with tempfile.TemporaryDirectory() as cache:
        prepared = prepare(data, data.split("train"), asked.size, Path(cache))
        measure(prepared, recipe, len(data.classes), asked)


if __name__ == "__main__":
    main()
