"""A server made with the Python SDK, which speaks both eras: on pipes, or over HTTP on the port that is given."""

import sys
from typing import Annotated

from mcp.server import MCPServer
from mcp.server.mcpserver import Context
from pydantic import Field

server = MCPServer("sdk", version="1.2.3", instructions="Be kind.")


@server.tool()
def greet(name: str) -> str:
    """Greets."""
    return f"Hello {name}"


@server.tool()
async def count(ctx: Context, to: int) -> int:
    """Reports progress."""
    for n in range(to):
        await ctx.report_progress(n + 1, to)
    return to


@server.tool()
async def grow(ctx: Context) -> str:
    """Adds a tool and says so."""
    server.add_tool(lambda: "new", name="grown")
    await ctx.notify_tools_changed()
    return "done"


@server.resource("memo://one")
def memo() -> str:
    """A memo."""
    return "one"


@server.tool()
async def touch(ctx: Context) -> str:
    """Says that the memo changed."""
    await ctx.notify_resource_updated("memo://one")
    return "touched"


Region = Annotated[str, Field(json_schema_extra={"x-mcp-header": "Region"})]


def regional(region: str) -> str:
    """Says where, as its argument says."""
    return region


def regional_in_headers(region: Region) -> str:
    """Says where, as its argument and a header say."""
    return region


server.add_tool(regional, name="where")


@server.tool()
def rearrange() -> str:
    """Changes what `where` wants, and tells nobody."""
    server.remove_tool("where")
    server.add_tool(regional_in_headers, name="where")
    return "done"


if len(sys.argv) > 1:
    import uvicorn

    app = server.streamable_http_app(json_response="--json" in sys.argv)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
else:
    server.run("stdio")
