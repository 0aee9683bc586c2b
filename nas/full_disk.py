"""A full disk: how it is known, and what a person is told of it."""

from __future__ import annotations

import errno
import shlex
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from nas.errors import StorageError

FULL = {errno.ENOSPC, errno.EDQUOT}
TEXTS = (
    "No space left on device",
    "Disk quota exceeded",
    "disk is full",
)
"""What libraries say that keep the number to themselves: safetensors, SQLite."""
TOLD = "the disk is full"
"""How the error of a trial begins that failed for want of space."""
LITTLE = 2**20
"""Bytes left on a disk that is called full."""


def is_full(error: BaseException) -> bool:
    """Return whether an error, or what it came from, is a full disk or a used-up quota."""
    seen: set[int] = set()
    current: BaseException | None = error
    while current is not None and id(current) not in seen:
        seen.add(id(current))
        if isinstance(current, OSError) and current.errno in FULL:
            return True
        if any(text in str(current) for text in TEXTS):
            return True
        current = current.__cause__ or current.__context__
    return False


def full_disk(folder: Path, why: str) -> StorageError:
    """Return what to tell the person whose search in `folder` came upon a full disk."""
    places = ", ".join(str(place) for place in _full_places(folder)) or "where that was written"
    go_on = f"nas search --resume {shlex.quote(str(folder))}"
    return StorageError(
        f"{TOLD}: {places} ({why}). Every trial that had ended is safe in the study; what was in flight is tried again."
        f" Make space, then go on with {go_on}"
    )


@contextmanager
def full_disk_told(folder: Path) -> Iterator[None]:
    """Turn what a full disk raises in this block into one StorageError that says how to go on in `folder`."""
    try:
        yield
    except Exception as error:
        if isinstance(error, StorageError) or not is_full(error):
            raise
        raise full_disk(folder, _brief(error)) from error


def _full_places(folder: Path) -> list[Path]:
    """Return which of the run's folder and the temporary folder have next to nothing left."""
    found = []
    for place in (folder, Path(tempfile.gettempdir())):
        with suppress(OSError):
            if shutil.disk_usage(place).free < LITTLE:
                found.append(place)
    return found


def _brief(error: BaseException) -> str:
    """Return the first line of an error, with the file that it names."""
    if isinstance(error, OSError):
        file = f": {error.filename}" if error.filename else ""
        return f"{error.strerror or error}{file}"
    return str(error).strip().partition("\n")[0]
