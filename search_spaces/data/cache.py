"""Samples decoded once, checked, and fitted to one size: memory-mapped files that every later epoch reads."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import inspect
import json
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, is_dataclass
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import IO, Any
from uuid import uuid4

import numpy as np
from numpy.typing import NDArray

from nas.errors import DataError
from search_spaces.data.dataset import DataSet, Sample
from search_spaces.data.fit import fit_image, fit_mask

VERSION = 1
MOST_ERRORS = 10
FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
Progress = Callable[[int, int], None]
Row = tuple[NDArray[np.uint8], NDArray[np.uint8], NDArray[np.int64], NDArray[np.int64]]
FILES = ("images", "masks", "sizes", "counts")


@dataclass(frozen=True)
class Prepared:
    """A finished cache folder. Copies of it in other processes share the same memory."""

    folder: Path

    @cached_property
    def images(self) -> NDArray[np.uint8]:
        """uint8 (N, H, W, 3), mapped read-only."""
        return self._mapped("images")

    @cached_property
    def masks(self) -> NDArray[np.uint8]:
        """uint8 (N, H, W), classes or 255, mapped read-only."""
        return self._mapped("masks")

    @cached_property
    def sizes(self) -> NDArray[np.int64]:
        """(N, 2): height and width of each sample before it was fitted."""
        return self._mapped("sizes")

    @cached_property
    def counts(self) -> NDArray[np.int64]:
        """(N, K + 1): pixels of each class in each mask as fitted; void and padding in the last column."""
        return self._mapped("counts")

    @property
    def size(self) -> tuple[int, int]:
        """(height, width) of every image."""
        return self.images.shape[1], self.images.shape[2]

    def __len__(self) -> int:
        return len(self.images)

    def __reduce__(self) -> tuple[type[Prepared], tuple[Path]]:
        return Prepared, (self.folder,)

    def _mapped(self, name: str) -> NDArray[Any]:
        try:
            return np.load(self.folder / f"{name}.npy", mmap_mode="r")  # type: ignore[no-any-return]
        except (OSError, ValueError) as error:
            raise DataError(
                f"{self.folder}: not a prepared data set ({error}); delete the folder"
            ) from error


def prepare(
    data: DataSet,
    samples: Sequence[Sample],
    size: tuple[int, int],
    cache: Path,
    progress: Progress | None = None,
) -> Prepared:
    """Return the samples fitted to `size` (height, width), from `cache` where they are there already.

    The name of a cache folder says all that its content depends on: files with their sizes and times, classes,
    `size`. It appears at once, when it is complete; of two processes one writes and the other waits.
    `progress(done, total)` is called after each sample. Raises DataError with the names of up to ten broken
    samples, or when the disk is full.
    """
    if not samples:
        raise DataError(f"{data.text}: no samples to prepare")
    cache = Path(cache).expanduser().absolute()
    done = cache / _key(data, samples, size)
    if not done.is_dir():
        with _full_disk_told(cache, len(samples) * size[0] * size[1] * 4):
            cache.mkdir(parents=True, exist_ok=True)
            with _locked(cache / f"{done.name}.lock"):
                _sweep(cache, done.name)
                if not done.is_dir():
                    _write(done, data, samples, size, progress)
    return Prepared(done)


def _key(data: DataSet, samples: Sequence[Sample], size: tuple[int, int]) -> str:
    """Return a name that changes whenever what is written would."""
    kind = data.load if inspect.isfunction(data.load) else type(data.load)
    reads = repr(data.load) if is_dataclass(data.load) else f"{kind.__module__}.{kind.__qualname__}"
    with suppress(OSError, TypeError):
        source = inspect.getsourcefile(kind)
        reads += hashlib.sha256(Path(source).read_bytes()).hexdigest() if source else ""
    told = [VERSION, reads, data.classes, size, [_stamp(s) for s in samples]]
    digest = hashlib.sha256(json.dumps(told).encode()).hexdigest()[:16]
    return f"{data.name}-{size[0]}x{size[1]}-{len(samples)}-{digest}"


def _stamp(sample: Sample) -> list[object]:
    """Return what changes when a sample does: its files' paths, sizes and times."""
    stamp: list[object] = [sample.name, sample.number]
    for path in (sample.image, sample.mask):
        if path is not None:
            try:
                status = path.stat()
            except OSError as error:
                raise DataError(f"{path}: {error.strerror}; was it moved?") from error
            stamp += [str(path), status.st_size, status.st_mtime_ns]
    return stamp


@contextmanager
def _full_disk_told(cache: Path, needed: int) -> Iterator[None]:
    """Turn a full disk, and a folder that cannot be written, into DataError."""
    try:
        yield
    except OSError as error:
        if error.errno in FULL:
            sizes = f"the prepared images need {needed / 1e6:.0f} MB"
            raise DataError(
                f"{cache}: the disk is full ({sizes}); free some space or choose another folder"
            ) from error
        raise DataError(
            f"{cache}: cannot write the prepared images ({error}); choose another folder"
        ) from error


@contextmanager
def _locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold a lock that ends with this process, however it ends; without `wait` yields False where another holds it."""
    with path.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


def _sweep(cache: Path, held: str) -> None:
    """Remove what killed writers left behind: their locks are free, or are the one that this process has `held`."""
    for partial in cache.glob("*.partial"):
        key = partial.name.split(".")[0]
        if key == held:
            shutil.rmtree(partial, ignore_errors=True)
            continue
        with _locked(cache / f"{key}.lock", wait=False) as free:
            if free:
                shutil.rmtree(partial, ignore_errors=True)


def _write(
    done: Path,
    data: DataSet,
    samples: Sequence[Sample],
    size: tuple[int, int],
    progress: Progress | None,
) -> None:
    """Write all files into a folder of another name, flush them to the disk, and give it its name."""
    count, classes = len(samples), len(data.classes)
    shapes = {
        "images": (count, *size, 3),
        "masks": (count, *size),
        "sizes": (count, 2),
        "counts": (count, classes + 1),
    }
    partial = done.with_name(f"{done.name}.{uuid4().hex[:8]}.partial")
    try:
        partial.mkdir()
        with ExitStack() as stack:
            files = [stack.enter_context((partial / f"{name}.npy").open("wb")) for name in FILES]
            for name, file in zip(FILES, files, strict=True):
                _header(file, shapes[name], np.uint8 if name in ("images", "masks") else np.int64)
            for row in _rows(data, samples, size, progress):
                for file, array in zip(files, row, strict=True):
                    file.write(np.ascontiguousarray(array).data)
            for file in files:
                file.flush()
                os.fsync(file.fileno())
        partial.rename(done)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _header(file: IO[bytes], shape: tuple[int, ...], kind: type) -> None:
    """Write the head of a .npy file, and ask for the room of the rest, so that a full disk shows before the work."""
    head = {
        "descr": np.lib.format.dtype_to_descr(np.dtype(kind)),
        "fortran_order": False,
        "shape": shape,
    }
    np.lib.format.write_array_header_1_0(file, head)
    length = file.tell() + int(np.prod(shape)) * np.dtype(kind).itemsize
    file.flush()
    os.posix_fallocate(file.fileno(), 0, length)


def _rows(
    data: DataSet, samples: Sequence[Sample], size: tuple[int, int], progress: Progress | None
) -> Iterator[Row]:
    """Yield the samples in order, read by a thread per core; raises DataError for the broken ones, together."""
    errors: list[str] = []
    for done, future in enumerate(
        _ahead(samples, lambda sample: _row(data, sample, size)), start=1
    ):
        try:
            row = future.result()
        except DataError as error:
            errors.append(str(error))
            if len(errors) > MOST_ERRORS:
                break
        else:
            if not errors:
                yield row
        if progress is not None:
            progress(done, len(samples))
    if errors:
        raise DataError(_broken(data, errors))


def _ahead(samples: Sequence[Sample], make: Callable[[Sample], Row]) -> Iterator[Future[Row]]:
    """Yield futures in the samples' order, a few of them ahead of whoever waits."""
    workers = os.cpu_count() or 1
    pool = ThreadPoolExecutor(workers)
    try:
        rest = iter(samples)
        waiting = [pool.submit(make, s) for s in islice(rest, 2 * workers)]
        while waiting:
            yield waiting.pop(0)
            waiting += [pool.submit(make, s) for s in islice(rest, 1)]
    finally:
        pool.shutdown(cancel_futures=True)


def _row(data: DataSet, sample: Sample, size: tuple[int, int]) -> Row:
    image, mask = data.read(sample)
    fitted = fit_mask(mask, size)
    counts = np.bincount(fitted.ravel(), minlength=data.ignore + 1)
    classes = len(data.classes)
    return (
        fit_image(image, size),
        fitted,
        np.array(mask.shape, np.int64),
        np.append(counts[:classes], counts[data.ignore]).astype(np.int64),
    )


def _broken(data: DataSet, errors: list[str]) -> str:
    more = len(errors) > MOST_ERRORS
    count = f"more than {MOST_ERRORS} samples" if more else f"{len(errors)} of the samples"
    shown = "".join(f"\n  {e}" for e in errors[:MOST_ERRORS])
    return f"{data.text}: {count} cannot be used:{shown}"
