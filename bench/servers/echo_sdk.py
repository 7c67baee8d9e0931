"""What people write: an MCP server made with the SDK, over HTTP, both eras, as the SDK serves it when nothing is set.

python bench/servers/echo_sdk.py PORT
"""

import sys

import uvicorn
from mcp.server import MCPServer

server = MCPServer("echo", log_level="WARNING")


@server.tool(structured_output=False)
def echo(text: str) -> str:
    """Say what it is told."""
    return text


if __name__ == "__main__":
    uvicorn.run(server.streamable_http_app(), host="127.0.0.1", port=int(sys.argv[1]), log_level="error")
