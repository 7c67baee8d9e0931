"""Servers of the TypeScript SDK, as people run them. `HENSLOWE_NPM_BIN` names the folder of their programs."""

import os
from pathlib import Path

import pytest

from henslowe.actors.endpoints import Era
from tests.transport.mcp.harness import Heard, call, opened

NPM_BIN = os.environ.get("HENSLOWE_NPM_BIN", "")

pytestmark = [
    pytest.mark.npm,
    pytest.mark.skipif(not NPM_BIN, reason="HENSLOWE_NPM_BIN does not name the folder of the npm packages' programs"),
]


def program(name: str) -> str:
    return str(Path(NPM_BIN).absolute() / name)


async def test_the_everything_server_is_opened_properly_and_serves_both_eras() -> None:
    async with opened(program("mcp-server-everything"), "stdio", heard=Heard()) as endpoint:
        assert endpoint.facts.era is Era.LEGACY
        assert len(endpoint.contract.tools) >= 13  # without a handshake it lists 12
        for era in Era:
            answer = await call(endpoint, "echo", era, message="hi")
            assert answer["result"]["content"][0]["text"] == "Echo: hi"


async def test_the_filesystem_server_works_without_the_roots_that_it_would_ask_for(tmp_path: Path) -> None:
    (tmp_path / "note.txt").write_text("inside")
    async with opened(program("mcp-server-filesystem"), str(tmp_path)) as endpoint:
        answer = await call(endpoint, "read_text_file", path=str(tmp_path / "note.txt"))
        assert answer["result"]["content"][0]["text"] == "inside"
