"""A server that starts in milliseconds, for proofs that start thousands: one read-only tool over pipes, no library.

A developed service is made of it by replacing `VERSION`, which every answer names.
"""

import json
import sys

VERSION = 1
TOOL = {
    "name": "greet",
    "description": "Greet somebody by name.",
    "inputSchema": {"type": "object", "properties": {"name": {"type": "string"}}, "required": ["name"]},
    "annotations": {"readOnlyHint": True},
}


def answer(method: str, params: dict) -> dict:
    """The result or the error of one request of the handshake era."""
    if method == "tools/call":
        text = f"Hello, {params['arguments']['name']}, from {VERSION}"
        return {"result": {"content": [{"type": "text", "text": text}]}}
    if method == "initialize":
        me = {"name": "plain", "version": str(VERSION)}
        version = params["protocolVersion"]
        return {"result": {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": me}}
    if method == "tools/list":
        return {"result": {"tools": [TOOL]}}
    if method == "ping":
        return {"result": {}}
    return {"error": {"code": -32601, "message": "Method not found"}}


def main() -> None:
    """Serve until standard input ends."""
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "method" in message and "id" in message:
            reply = {"jsonrpc": "2.0", "id": message["id"], **answer(message["method"], message.get("params") or {})}
            sys.stdout.buffer.write(json.dumps(reply).encode() + b"\n")
            sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
