"""Checkpoints and weights: whole or not there, and clear about files that are neither."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from nas.atomic import write_atomic
from nas.checkpoint import load_checkpoint, save_checkpoint
from nas.errors import RunError
from nas.train import State
from nas.weights import load_weights, read_about, save_weights
from tests.nas.toy import toy


def state() -> State:
    return State(
        2, toy().state_dict(), {"state": {}, "param_groups": []}, None, [{"epoch": 1, "loss": 0.5}]
    )


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    file = tmp_path / "a" / "checkpoint.pt"
    before = state()
    save_checkpoint(file, before)
    after = load_checkpoint(file)
    assert (after.epoch, after.rows, after.ema) == (2, before.rows, None)
    assert all(torch.equal(before.network[name], value) for name, value in after.network.items())
    assert [p.name for p in file.parent.iterdir()] == ["checkpoint.pt"]


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_a_torn_checkpoint_is_refused(tmp_path: Path, keep: float) -> None:
    file = tmp_path / "checkpoint.pt"
    save_checkpoint(file, state())
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content)) if keep < 1 else int(keep)])
    with pytest.raises(RunError, match=r"checkpoint\.pt: the checkpoint is damaged"):
        load_checkpoint(file)


def test_foreign_files_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "checkpoint.pt"
    torch.save({"state_dict": {}}, file)
    with pytest.raises(RunError, match="expected a file of the format"):
        load_checkpoint(file)
    torch.save(toy(), file)  # a pickled object: never executed
    with pytest.raises(RunError, match="damaged or not one of ours"):
        load_checkpoint(file)
    with pytest.raises(RunError, match="No such file"):
        load_checkpoint(tmp_path / "gone.pt")


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    file = tmp_path / "score.json"
    write_atomic(file, b"old")
    with pytest.raises(TypeError):
        write_atomic(file, "text is not bytes")  # type: ignore[arg-type]
    assert file.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["score.json"]


def test_weights_come_back_with_what_they_are(tmp_path: Path) -> None:
    file = tmp_path / "weights.safetensors"
    about = {"classes": ["road", "Straße"], "size": [32, 64], "mean": [0.485]}
    network = toy(seed=1).to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    save_weights(file, network, about)
    assert read_about(file) == about
    loaded = load_weights(toy(seed=2), file)
    assert all(
        torch.equal(network.state_dict()[name], value)
        for name, value in loaded.state_dict().items()
    )


def test_weights_of_tied_modules(tmp_path: Path) -> None:
    network, twin = toy(seed=1), toy(seed=2)
    network.again, twin.again = network.conv, twin.conv
    save_weights(tmp_path / "w.safetensors", network, {})
    assert torch.equal(
        load_weights(twin, tmp_path / "w.safetensors").conv.weight, network.conv.weight
    )


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "w.safetensors"
    save_weights(file, toy().conv, {})
    with pytest.raises(
        RunError,
        match=r"another architecture or other classes \(aux\.bias: expected 3, got nothing\)",
    ):
        load_weights(toy(), file)
    with pytest.raises(RunError, match="no such file"):
        read_about(tmp_path / "gone.safetensors")
    file.write_bytes(file.read_bytes()[:50])
    with pytest.raises(RunError, match="damaged"):
        read_about(file)
