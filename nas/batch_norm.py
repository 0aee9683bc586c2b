"""What batch norm says of a batch that it cannot take, in words that tell what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from nas.errors import TrainingError


@contextmanager
def enough_values() -> Iterator[None]:
    """Turn PyTorch's error for one value per channel into TrainingError."""
    try:
        yield
    except ValueError as error:
        if "more than 1 value per channel" not in str(error):
            raise
        raise TrainingError(
            f"{error}: batch norm needs a batch of at least 2, or a larger crop"
        ) from error
