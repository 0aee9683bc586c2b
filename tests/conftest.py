"""Tests measure into a cache of their own, never into that of the person who runs them; long ones begin first."""

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put files with tests of several seconds first: workers that take file by file then end at about the same time."""
    long = {item.path for item in items if item.get_closest_marker("full")}
    items.sort(key=lambda item: item.path not in long)
