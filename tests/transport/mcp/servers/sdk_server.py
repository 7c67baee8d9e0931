"""A server made with the Python SDK, which speaks both eras: on pipes, or over HTTP on the port that is given."""

import sys

from mcp.server import MCPServer
from mcp.server.mcpserver import Context

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


if len(sys.argv) > 1:
    import uvicorn

    app = server.streamable_http_app(json_response="--json" in sys.argv)
    uvicorn.run(app, host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
else:
    server.run("stdio")
