"""A server with one fault, for the proof that it is found: one read-only tool over pipes, no library.

A developed service is made of it by replacing `FAULT`; the seed makes two runs of one fault the same.
"""

import json
import os
import random
import sys
import threading
import time

FAULT = ""
SEED = 1
BASE_S = 0.01
LEAK_BYTES = 2 << 20
LEAK_BYTES_MAX = 768 << 20
"""What a server has in all when its machine has no more; its node's limit comes first."""
chance = random.Random(SEED)
leaked: list[bytearray] = []
writing = threading.Lock()
NAME = {"type": "sting" if FAULT == "schema" else "string"}
TOOL = {
    "name": "greet",
    "description": "Greet somebody by name.",
    "inputSchema": {
        "type": "object",
        "properties": {"name": NAME},
        "required": ["name"],
        **({"examples": [{"name": "Ada"}]} if FAULT == "answer" else {}),
    },
    "outputSchema": {"type": "object", "properties": {"length": {"type": "integer"}}, "required": ["length"]},
    "annotations": {"readOnlyHint": True},
}


def misbehave() -> bool:
    """Do what the fault does to a call; whether the call is to fail."""
    luck = chance.random()
    time.sleep(BASE_S * 8 if FAULT == "latency" else BASE_S)
    if FAULT == "crash" and luck < 0.25:
        os._exit(3)
    if FAULT == "hang" and luck < 0.25:
        threading.Event().wait()
    if FAULT == "leak":
        leaked.append(bytearray(os.urandom(4096)) * (LEAK_BYTES // 4096))
        if len(leaked) * LEAK_BYTES > LEAK_BYTES_MAX:
            os._exit(137)
    return FAULT == "errors" and luck < 0.3


def call(params: dict) -> dict:
    """The result of the tool."""
    if misbehave():
        return {"result": {"content": [{"type": "text", "text": "a seeded fault"}], "isError": True}}
    text = f"Hello, {params['arguments']['name']}"
    length = str(len(text)) if FAULT == "answer" else len(text)
    return {"result": {"content": [{"type": "text", "text": text}], "structuredContent": {"length": length}}}


def answer(message: dict) -> None:
    """Answer one request of the handshake era."""
    method, params = message["method"], message.get("params") or {}
    if method == "tools/call":
        reply = call(params)
    elif method == "initialize":
        me = {"name": "faulty", "version": "1"}
        version = params["protocolVersion"]
        reply = {"result": {"protocolVersion": version, "capabilities": {"tools": {}}, "serverInfo": me}}
    elif method == "tools/list":
        reply = {"result": {"tools": [TOOL]}}
    elif method == "ping":
        reply = {"result": {}}
    else:
        reply = {"error": {"code": -32601, "message": "Method not found"}}
    with writing:
        sys.stdout.buffer.write(json.dumps({"jsonrpc": "2.0", "id": message["id"], **reply}).encode() + b"\n")
        sys.stdout.buffer.flush()


def main() -> None:
    """Serve until standard input ends, each request in a thread of its own."""
    for line in sys.stdin.buffer:
        message = json.loads(line)
        if "method" in message and "id" in message:
            threading.Thread(target=answer, args=(message,), daemon=True).start()


if __name__ == "__main__":
    main()
