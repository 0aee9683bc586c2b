"""The record of a tuning: what is written is read back, and a torn line costs that line."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from nas.errors import RunError
from nas.tuning.ledger import Ledger


def row(epoch: int, miou: float = 0.5, training: int = 1) -> dict[str, Any]:
    path = [{"epoch": 1, "training": training, "values": {"lr": 0.1}}]
    facts = {"loss": 1.0, "lr": 0.1, "seconds": 2.0, "path": path}
    return {"epoch": epoch, "miou": miou, **facts}


def known(ledger: Ledger) -> dict[int, Any]:
    return {n: (t.rows, t.state, t.reason, t.seconds) for n, t in ledger.tracks.items()}


def test_it_is_read_back(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for epoch in (1, 2):
        ledger.epoch(1, row(epoch, epoch / 10))
    ledger.epoch(2, row(1))
    ledger.end(1, "stopped")
    ledger.end(2, "failed", "ValueError: no")
    again = Ledger(tmp_path)
    assert known(again) == known(ledger)
    assert (again.track(1).epoch, again.track(1).miou, again.track(1).ended) == (2, 0.2, True)
    assert again.track(2).reason == "ValueError: no"
    assert (again.track(3).state, again.track(3).ended, again.track(3).miou) == (
        "waiting",
        False,
        None,
    )


def test_a_training_that_goes_back_replaces_what_came_after(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path)
    for epoch in (1, 2, 3, 4):
        ledger.epoch(1, row(epoch))
    ledger.epoch(1, row(3, 0.9, training=2))
    track = ledger.track(1)
    assert [r["epoch"] for r in track.rows] == [1, 2, 3]
    assert (track.miou, track.seconds) == (0.9, 10.0)


@pytest.mark.parametrize("cut", [1, 5, 20])
def test_a_torn_last_line_is_cut_off(tmp_path: Path, cut: int) -> None:
    ledger = Ledger(tmp_path)
    ledger.epoch(1, row(1))
    whole = known(ledger)
    ledger.epoch(1, row(2))
    file = tmp_path / "log.jsonl"
    file.write_bytes(file.read_bytes()[:-cut])
    again = Ledger(tmp_path)
    assert known(again) == whole
    again.epoch(1, row(2))
    assert known(Ledger(tmp_path)) == known(ledger)


def test_a_restart_tries_again_what_died_with_its_worker_and_not_what_failed(
    tmp_path: Path,
) -> None:
    ledger = Ledger(tmp_path)
    for number, state in ((1, "died"), (2, "failed"), (3, "cut")):
        ledger.epoch(number, row(1))
        ledger.end(number, state, "why")  # type: ignore[arg-type]
    assert all(ledger.track(n).ended for n in (1, 2, 3))
    again = Ledger(tmp_path)
    assert [again.track(n).state for n in (1, 2, 3)] == ["waiting", "failed", "cut"]
    assert again.track(1).epoch == 1


def test_other_damage_is_told_with_the_line(tmp_path: Path) -> None:
    Ledger(tmp_path).epoch(1, row(1))
    file = tmp_path / "log.jsonl"
    file.write_bytes(b"{oops\n" + file.read_bytes())
    with pytest.raises(RunError, match=r"log\.jsonl:1: damaged"):
        Ledger(tmp_path)


def test_time_used_goes_on_where_it_was(tmp_path: Path) -> None:
    Ledger(tmp_path).epoch(1, row(1))
    text = (tmp_path / "log.jsonl").read_text()
    (tmp_path / "log.jsonl").write_text(text.replace('"clock": 0.0', '"clock": 100.0'))
    assert 100 <= Ledger(tmp_path).seconds_used < 110
