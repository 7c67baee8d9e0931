"""Everything that speaks on a socket or a pipe: the MCP wire, the gateway, the admin API.

The only room with aiohttp.
"""
