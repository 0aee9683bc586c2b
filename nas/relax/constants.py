"""Weights as constants while the architecture learns: nothing is kept or computed for gradients that nobody wants."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from torch import nn


@contextmanager
def constant(parameters: Iterable[nn.Parameter]) -> Iterator[None]:
    """Take parameters for constants in what is computed inside."""
    learned = [parameter for parameter in parameters if parameter.requires_grad]
    for parameter in learned:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in learned:
            parameter.requires_grad_(True)
