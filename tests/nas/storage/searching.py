"""Searches in processes of their own, with planted scores, and what they leave."""

import os
import subprocess
import sys
import time
from pathlib import Path

from nas.run import Run

GO = Path(__file__).parents[1] / "search" / "go.py"
TRIALS = 8


def start(folder, storage="", budget=f"{TRIALS}trials", **given):
    """Start a search or go on with it; `given` are an evaluator and the environment."""
    where = [f"storage={storage}"] if storage else []
    evaluator = given.get("evaluator") or "planted_slow"
    return subprocess.Popen(
        [sys.executable, str(GO), str(folder), evaluator, budget, *where],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **given.get("env", {})},
    )


def finished(process):
    """Return why a search ended, and what it said."""
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    return out.strip().splitlines()[-1], out + err


def refused(process):
    """Return what a search said that did not work."""
    out, err = process.communicate(timeout=300)
    assert process.returncode != 0, out
    return err


def history(folder):
    return [
        (t.number, t.outcome, t.architecture, dict(t.values), t.seed, t.reason, len(t.epochs))
        for t in Run.open(folder).trials()
    ]


def wait_for(folder, event, times):
    """Wait until something has happened so many times."""
    log = folder / "log.jsonl"
    end = time.monotonic() + 200
    while time.monotonic() < end:
        if log.exists() and log.read_text().count(f'"{event}"') >= times:
            return
        time.sleep(0.02)
    raise AssertionError(f"not {times} times {event} in {folder}")
