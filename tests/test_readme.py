"""The README is true: every command and every line of Python in it runs, with small numbers in place of hours."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text()
BLOCK = re.compile(r"(?:<!-- (run|file: \S+) -->\n)?```(\w*)\n(.*?)```", re.DOTALL)
SMALLER = (
    (
        "--make-table real_time --target onnxruntime",
        "--make-table tiny --target eager --networks 12 --runs 2",
    ),
    ("--max-latency 40ms", "--max-latency 10s"),
    ("--budget 3h", "--budget 2trials"),
    (
        "--epochs 20 --samples 10 --budget 2h --workers 2",
        "--epochs 1 --samples 1 --batch 4 --workers 1",
    ),
    ("--workers 4", "--workers 2"),
    (
        "auto_deeplab --strategy differentiable",
        "tiny --strategy differentiable --fix '*.repeat=last' --fix let.width=last --supernet-epochs 2",
    ),
    ("--target-macs 2G --budget 8h", "--target-macs 7M --budget 1trials --epochs 1 --batch 4"),
    (
        "--target-macs 80M --target-macs 150M",
        "--target-macs 5M --target-macs 9M --snapshots 1 --supernet-epochs 2",
    ),
    ("--budget 2h", "--budget 1trials --epochs 1 --batch 4"),
    ("--budget 20trials", "--budget 1trials --epochs 1 --batch 4"),
    ("--epochs 200", "--epochs 1 --batch 4"),
    ("256x512", "64x128"),
    ("--data street ", "--data street:images=16,val=4 "),
    ("real_time --data", "tiny --data"),
    ("--max-macs 5G --max-params 8M", "--max-macs 500M --max-params 8M"),
    ("street:images=64", "street:images=16,val=4,size=64x128"),
)
"""What the test shortens: times, epochs, sizes, and the space that it searches."""


@dataclass(frozen=True)
class Block:
    """One fenced block: what is to be done with it ("run", a file's name or nothing), its language and text."""

    mark: str
    language: str
    text: str

    @property
    def small(self) -> str:
        text = self.text
        for long, short in SMALLER:
            text = text.replace(long, short)
        return text

    @property
    def commands(self) -> list[list[str]]:
        return [shlex.split(line) for line in self.small.splitlines() if line.strip()]


BLOCKS = [Block(mark, language, text) for mark, language, text in BLOCK.findall(README)]


@pytest.fixture(scope="module")
def desk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as the README describes it: images of one's own, and the files that it shows."""
    folder = tmp_path_factory.mktemp("desk")
    _make_images(folder / "my_images")
    for block in BLOCKS:
        if block.mark.startswith("file: "):
            (folder / block.mark.removeprefix("file: ")).write_text(block.text)
    return folder


def _make_images(folder: Path) -> None:
    rng = np.random.default_rng(0)
    for split, count in (("train", 16), ("val", 4)):
        for kind in ("images", "masks"):
            (folder / split / kind).mkdir(parents=True)
        for number in range(count):
            image = rng.integers(0, 255, (64, 128, 3), dtype=np.uint8)
            Image.fromarray(image).save(folder / split / "images" / f"{number:04}.jpg")
            Image.fromarray(image[..., 0] // 86).save(folder / split / "masks" / f"{number:04}.png")
    (folder / "classes.txt").write_text("road\nsky\ncar\n")


def test_there_are_exactly_two_commands_to_begin_with() -> None:
    unmarked = [b for b in BLOCKS if b.language == "bash" and not b.mark]
    first, second = (b.text.strip() for b in unmarked)
    assert "\n" not in first + second
    assert first.startswith("python3.11 -m venv .venv && .venv/bin/pip install -c constraints.txt")
    assert first.endswith(".venv/bin/nas demo")
    assert (ROOT / second.split()[0]).stat().st_mode & 0o111
    assert second.split()[0] in (ROOT / ".ci" / "run").read_text()


def test_every_other_block_of_code_is_run() -> None:
    idle = [b for b in BLOCKS if b.language and not b.mark]
    assert [b.language for b in idle] == ["bash", "bash"]


@pytest.mark.full
def test_every_command_and_example_runs(desk: Path) -> None:
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    environment = os.environ | {"PATH": path}
    for block in BLOCKS:
        if block.mark != "run":
            continue
        commands = (
            block.commands if block.language == "bash" else [[sys.executable, "-c", block.small]]
        )
        for command in commands:
            done = subprocess.run(
                command, cwd=desk, env=environment, capture_output=True, text=True, check=False
            )
            assert done.returncode == 0, f"{shlex.join(command)}\n{done.stdout}\n{done.stderr}"
    made = (
        "results/mine/front.png",
        "results/with_block/run.yaml",
        "results/python/run.yaml",
        "pictures",
    )
    assert all((desk / name).exists() for name in made)
    assert list(desk.glob("results/mine/export/*.onnx"))
