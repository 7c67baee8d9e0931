"""`python -m henslowe.extensions.serve NAME`: the MCP server of an extension of kind `tool`, on its standard streams.

The node starts it as it starts every service. It needs no node: a client can be given this command directly.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Final

from henslowe.actors.launch import SERVICE_DATA
from henslowe.errors import HensloweError, NotFound
from henslowe.extensions import Context, Tool
from henslowe.extensions.finding import Found, Kind, find, load

OPTIONS: Final = "HENSLOWE_EXTENSION_OPTIONS"
"""The variable with the extension's options, as JSON."""


def main(name: str) -> int:
    """Serve until standard input ends."""
    try:
        found = next((each for each in find() if each.kind is Kind.TOOL and each.name == name), None)
        if found is None:
            raise NotFound(f"there is no extension {name!r} in the group {Kind.TOOL.group}")
        module: Tool = load(found)
    except HensloweError as error:
        sys.stderr.write(f"{error.message}\n{error.hint}\n")
        return 2
    asyncio.run(_serve(found, module))
    return 0


async def _serve(found: Found, module: Tool) -> None:
    from mcp.server import MCPServer

    folder = Path(os.environ.get(SERVICE_DATA, "."))
    try:
        await module.start(Context(found.name, folder, json.loads(os.environ.get(OPTIONS, "{}"))))
        server = MCPServer(found.name, version=found.package_version or "0.0.0")
        for tool in module.tools:
            server.add_tool(tool)
        await server.run_stdio_async()
    finally:
        await module.stop()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1] if len(sys.argv) == 2 else ""))
