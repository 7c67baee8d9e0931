from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.transport.security.house import House, house_in


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The first test waits for a whole node."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.timeout(120))


@pytest.fixture(scope="session")
def house(tmp_path_factory: pytest.TempPathFactory) -> Iterator[House]:
    """A node with its neighbours."""
    with house_in(tmp_path_factory.mktemp("security")) as running:
        yield running
