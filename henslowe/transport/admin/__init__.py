"""The admin API: what people, scripts, the CLI and Prometheus ask of a running node.

`api` adds the routes to the node's application, `routes` is the table they come from, `models` is the JSON contract,
`ports` is what the node must offer. Importing this package does nothing: the CLI uses `models` without paying for
aiohttp. Who may connect at all (Host, Origin, remote peers) is `henslowe.transport.http_guard`'s.
"""
