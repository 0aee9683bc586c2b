"""What travels to a node that does not see the driver's files, and back: our code, a user's files, checkpoints."""

from __future__ import annotations

import hashlib
import io
import os
import zipfile
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from nas import registry
from nas.atomic import write_atomic
from nas.errors import NasError

LEFT_OUT = {"__pycache__"}
STAMP = (1980, 1, 1, 0, 0, 0)
"""A time for all files of an archive, so that the same code is the same bytes."""


@dataclass(frozen=True, slots=True)
class Sheet:
    """One file of the driver's: where it lies there, and its content."""

    path: str
    content: bytes

    @property
    def digest(self) -> str:
        """SHA-256 of the content."""
        return hashlib.sha256(self.content).hexdigest()

    def place(self, folder: Path) -> str:
        """Return a path with this content: that of the driver, where the same lies there, else one in `folder`."""
        here = Path(self.path)
        with suppress(OSError):
            if here.read_bytes() == self.content:
                return self.path
        own = folder / self.digest[:16] / here.name
        if not own.is_file():
            write_atomic(own, self.content)
        return str(own)


def packages() -> bytes:
    """Return this package and the domain's as a zip file, as they lie on the driver's disk."""
    engine = Path(__file__).parents[1]
    domain = Path(str(registry.load().__file__)).parent
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for root in (engine, domain):
            for file in sorted(_sources(root)):
                name = f"{root.name}/{file.relative_to(root).as_posix()}"
                archive.writestr(
                    zipfile.ZipInfo(name, STAMP), file.read_bytes(), zipfile.ZIP_DEFLATED
                )
    return buffer.getvalue()


def _sources(root: Path) -> Iterable[Path]:
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if name not in LEFT_OUT]
        yield from (Path(folder) / name for name in files)


Marks = Mapping[str, tuple[int, int]]
"""When files were changed, and their sizes, by name."""


def marks(folder: Path) -> dict[str, tuple[int, int]]:
    """Return the files of a folder by their names in it; drafts of what is being written are none."""
    found: dict[str, tuple[int, int]] = {}
    for file in sorted(folder.rglob("*")):
        if file.name.endswith(".draft"):
            continue
        with suppress(OSError):  # it was replaced at this moment
            status = file.stat()
            if file.is_file():
                name = file.relative_to(folder).as_posix()
                found[name] = (status.st_mtime_ns, status.st_size)
    return found


def contents(folder: Path, names: Iterable[str]) -> dict[str, bytes]:
    """Return the content of the files that are (still) there."""
    found: dict[str, bytes] = {}
    for name in names:
        with suppress(FileNotFoundError):
            found[name] = (folder / name).read_bytes()
    return found


def unpack(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write files into a folder, each whole or not at all. Raises NasError for a name that leads out of it."""
    for name, content in files.items():
        write_atomic(_inside(folder, name), content)


def remove(folder: Path, names: Iterable[str]) -> None:
    """Remove files of a folder, where they are still there. Raises NasError for a name that leads out of it."""
    for name in names:
        _inside(folder, name).unlink(missing_ok=True)


def _inside(folder: Path, name: str) -> Path:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts:
        raise NasError(f"a worker names a file {name!r}, which lies outside its job's folder")
    return folder / path
