"""Whole nodes: every test here starts the command that a person would."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.harness import Node, quick

E2E_TIMEOUT_S = 180


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Marks the tests of this folder, and gives them the time that whole nodes need."""
    here = Path(__file__).parent
    for item in items:
        if item.path.is_relative_to(here):
            item.add_marker(pytest.mark.e2e)
            item.add_marker(pytest.mark.timeout(E2E_TIMEOUT_S))


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """An empty workspace; `henslowe up` puts the sample service into it."""
    return tmp_path / "workspace"


@pytest.fixture
def quick_workspace(workspace: Path) -> Path:
    """A workspace whose service `hello` starts at once: for what happens around a server, not in it."""
    source = workspace / "dev" / "hello" / "server.py"
    source.parent.mkdir(parents=True)
    source.write_text(quick())
    return workspace


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node with the sample service active, shared by the tests of a module that leave it as it was."""
    workspace = tmp_path_factory.mktemp("node") / "workspace"
    with Node(workspace, "delivery.strategy=immediate") as running:
        running.wait_for_active("hello", 1)
        yield running
