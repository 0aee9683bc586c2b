"""What a segmentation network can be made of: importing this package registers every kind.

`open_data`, `prepare`, `batches`, `validation`, `make_task`, `plain_task`, `reference_network` and `without_auxiliary`
are re-exported when first asked for (PEP 562), so that reading a space loads no data or training code.
"""

from __future__ import annotations

import importlib
from typing import Any

from search_spaces import blocks, contexts, encoders, heads, necks, network

_LAZY = {
    "open_data": "search_spaces.data",
    "prepare": "search_spaces.data",
    "batches": "search_spaces.data",
    "validation": "search_spaces.data",
    "make_task": "search_spaces.tasks",
    "without_auxiliary": "search_spaces.network",
    "reference_network": "search_spaces.reference",
    "plain_task": "search_spaces.tasks",
}

__all__ = ["blocks", "contexts", "encoders", "heads", "necks", "network", *_LAZY]  # noqa: PLE0604


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(
            f"module {__name__!r} has no attribute {name!r}; known: {', '.join(__all__)}"
        )
    return getattr(importlib.import_module(_LAZY[name]), name)
