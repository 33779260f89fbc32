"""What several frameworks need: a database of their own."""

from __future__ import annotations

import os
from itertools import count
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.store.postgres_server import connected, server_url

if TYPE_CHECKING:
    from collections.abc import Iterator

_numbers = count(1)


@pytest.fixture
def server() -> Iterator[str]:
    """Make a database of its own: the project's tables and ours are in it, by their usual names."""
    name = f"integration_{os.getpid()}_{next(_numbers)}"
    with connected(server_url()) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    yield urlsplit(server_url())._replace(path=f"/{name}").geturl()
    with connected(server_url()) as connection:
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")
