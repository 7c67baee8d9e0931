"""The MCP wire towards servers: opening them, calling them in either era, over pipes and over HTTP.

`McpConnector` is what the rest of the node uses, through the `Connector` Protocol of `henslowe.actors.endpoints`.
Inside, from the top: `connector` opens, `endpoint` is the handle that is published, `bridge` translates eras,
`handshake` and `contract` ask a server what it is and offers, `stdio` and `http` are the two links, `http1` and `sse`
the bytes below them. `dormant` stands in for a server that sleeps. Towards clients, see `henslowe.transport.gateway`.
"""

from __future__ import annotations

from henslowe.transport.mcp.connector import McpConnector
from henslowe.transport.mcp.dormant import DormantEndpoint
from henslowe.transport.mcp.endpoint import McpEndpoint

__all__ = ["DormantEndpoint", "McpConnector", "McpEndpoint"]
