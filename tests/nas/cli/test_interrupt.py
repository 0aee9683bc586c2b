"""Ctrl-C on the real commands: what it leaves goes on with the command that they print."""

from __future__ import annotations

import json
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pytestmark = pytest.mark.full
DATA = "street:images=16,val=4,size=64x128"
NETWORK = """
task: {semantic: {classes: 11}}
input: [3, 64, 128]
encoder: {stages: {stem: 8, stages: [{width: 16, blocks: [{basic: {}}]}]}}
decoders: {semantic: {head: {fcn: {width: 8}}}}
"""


def start(*arguments: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "nas", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def wait_for(
    what: Callable[[], bool], process: subprocess.Popen[str], seconds: float = 120
) -> None:
    end = time.monotonic() + seconds
    while not what():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, "too slow"
        time.sleep(0.05)


def printed_command(text: str) -> list[str]:
    line = next(line for line in reversed(text.splitlines()) if line.strip().startswith("nas "))
    return shlex.split(line)[1:]


def run(arguments: list[str]) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "nas", *arguments], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("workers", [1, 2])
def test_a_retraining_goes_on_to_the_same_score(tmp_path: Path, workers: int) -> None:
    network = tmp_path / "net.yaml"
    network.write_text(NETWORK)

    def command(folder: str) -> list[str]:
        place = str(tmp_path / folder)
        return shlex.split(
            f"retrain {network} --data {DATA} --batch 4 --epochs 25 --device cpu --run {place} --workers {workers}"
        )

    process = start(*command("stopped"))
    wait_for(lambda: any(tmp_path.glob("stopped/retrained/*/seed-0/checkpoint.pt")), process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert not list(tmp_path.glob("stopped/retrained/*/seed-0/score.json"))
    again = printed_command(output)
    assert again == [*command("stopped"), "--resume"]
    run(again)
    run(command("whole"))
    stopped, whole = (
        json.loads(next(tmp_path.glob(f"{name}/retrained/*/seed-0/score.json")).read_text())
        for name in ("stopped", "whole")
    )
    assert stopped["miou"] == whole["miou"]
    assert stopped["epochs"] == whole["epochs"] == 25


def test_a_search_goes_on(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    log = folder / "log.jsonl"
    command = f"search tiny --data {DATA} --epochs 20 --batch 4 --budget 2trials --device cpu --run {folder}"
    process = start(*shlex.split(command))
    wait_for(lambda: log.is_file() and '"began"' in log.read_text(), process)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    again = printed_command(output)
    assert again == ["search", "--resume", str(folder)]
    run(again)
    assert json.loads(run(["front", str(folder), "--json"]))["trials"]["complete"] == 2
