"""Tests measure into a cache of their own: never into that of the person who runs them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Set `$NAS_CACHE` to an empty folder, for this process and for those that tests start."""
    before = os.environ.get("NAS_CACHE")
    os.environ["NAS_CACHE"] = str(tmp_path_factory.mktemp("cache"))
    yield
    if before is None:
        del os.environ["NAS_CACHE"]
    else:
        os.environ["NAS_CACHE"] = before
