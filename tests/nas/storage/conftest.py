"""Databases to keep studies in: a SQLite file, and servers that are started once for all tests of this folder."""

import pytest

from nas.storage_url import StorageUrl
from tests.nas.storage import mariadb, postgres


@pytest.fixture(scope="session")
def postgres_server():
    with postgres.server() as server:
        yield server


@pytest.fixture(scope="session")
def mariadb_server():
    with mariadb.server() as server:
        yield server


@pytest.fixture(params=["postgres_server", "mariadb_server"])
def server(request):
    """A running server of each kind, its database empty."""
    server = request.getfixturevalue(request.param)
    server.reset()
    return server


@pytest.fixture
def url(server):
    """The URL of a server's database, as SQLAlchemy takes it."""
    return StorageUrl.of(server.url).full
