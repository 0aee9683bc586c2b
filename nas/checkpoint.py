"""Checkpoints to go on from: files that are either whole or not there."""

from __future__ import annotations

import io
import pickle
from pathlib import Path

import torch

from nas.atomic import write_atomic
from nas.errors import RunError
from nas.train import State

FORMAT = "nas checkpoint 1"
UNREADABLE = (
    RuntimeError,
    OSError,
    EOFError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    pickle.UnpicklingError,
)
"""What PyTorch's reader raises over bytes that it did not write."""


def save_checkpoint(path: Path, state: State) -> None:
    """Write a training's state, whole or not at all."""
    content = {
        "format": FORMAT,
        **{name: getattr(state, name) for name in State.__dataclass_fields__},
    }
    buffer = io.BytesIO()
    torch.save(content, buffer)
    write_atomic(path, buffer.getvalue())


def load_checkpoint(path: Path) -> State:
    """Read what `save_checkpoint` wrote, onto the CPU; raises RunError for a file that is torn or not one of ours."""
    return state_of(checkpoint_bytes(path), path)


def checkpoint_bytes(path: Path) -> bytes:
    """Return a checkpoint's bytes; raises RunError where the file cannot be read."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise RunError(f"{path}: cannot read the checkpoint: {error.strerror or error}") from error


def state_of(raw: bytes, path: Path) -> State:
    """Return the state in a checkpoint's bytes; raises RunError with their path where they are none."""
    remedy = "delete it to start again"
    try:
        content = torch.load(io.BytesIO(raw), map_location="cpu", weights_only=True)
    except UNREADABLE as error:
        reason = str(error).strip().partition("\n")[0]
        raise RunError(
            f"{path}: the checkpoint is damaged or not one of ours ({reason}); {remedy}"
        ) from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise RunError(f"{path}: expected a file of the format {FORMAT!r}, got {found!r}; {remedy}")
    return State(**{name: content[name] for name in State.__dataclass_fields__})
