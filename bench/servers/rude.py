"""A server that misbehaves when it is asked to: answers of any size, late answers, floods on every channel.

It has the lowest priority of all: what is measured is what it does to the node, not to the machine.
"""

import asyncio
import contextlib
import json
import os
import sys
import threading
import time
from pathlib import Path

TOOLS = [
    {"name": name, "inputSchema": {"type": "object"}, "annotations": {"readOnlyHint": True}}
    for name in ("greet", "big", "hang", "chatter", "flood")
]
LINES = {
    "garbage": b"this is not JSON-RPC\n",
    "stderr": b"a line of a log that nobody reads\n",
    "notifications": b'{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}\n',
    "changes": b'{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}\n',
}
"""What a flood is made of, by its kind."""
CHUNK_LINES = 200
writing = threading.Lock()


def write(data: bytes, fd: int = 1) -> None:
    with writing:
        while data:
            data = data[os.write(fd, data) :]


def send(message: dict) -> None:
    write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")


def flood(kind: str, seconds: float) -> None:
    """Write lines of a kind as fast as they are taken."""
    chunk, until_s = LINES[kind] * CHUNK_LINES, time.monotonic() + seconds
    while time.monotonic() < until_s:
        write(chunk, 2 if kind == "stderr" else 1)


def text(value: str) -> dict:
    return {"result": {"content": [{"type": "text", "text": value}]}}


async def call(number: object, params: dict) -> None:
    name, given = params["name"], params.get("arguments") or {}
    if name == "big":
        send({"id": number, **text("x" * int(given["bytes"]))})
        return
    if name == "hang":
        await asyncio.sleep(given["seconds"])
    elif name == "chatter":
        token = (params.get("_meta") or {}).get("progressToken")
        for step in range(given["count"]):
            progress = {"progressToken": token, "progress": step, "message": "x" * given["bytes"]}
            send({"method": "notifications/progress", "params": progress})
            await asyncio.sleep(0)
    elif name == "flood":
        threading.Thread(target=flood, args=(given["kind"], given["seconds"]), daemon=True).start()
    send({"id": number, **text(f"Hello, {given.get('name', 'you')}")})


def answer(method: str, params: dict) -> dict:
    if method == "initialize":
        me = {"name": "rude", "version": "1"}
        capabilities = {"tools": {"listChanged": True}, "logging": {}}
        return {
            "result": {"protocolVersion": params["protocolVersion"], "capabilities": capabilities, "serverInfo": me}
        }
    if method == "tools/list":
        return {"result": {"tools": TOOLS}}
    if method in ("ping", "logging/setLevel"):
        return {"result": {}}
    return {"error": {"code": -32601, "message": "Method not found"}}


def stand_back() -> None:
    """Run when nobody else wants to."""
    os.nice(19)
    with contextlib.suppress(OSError, AttributeError):
        os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
    with contextlib.suppress(OSError):
        Path("/proc/self/autogroup").write_text("19")  # a session of its own is weighed as a whole


async def main() -> None:
    reader, tasks = asyncio.StreamReader(limit=1 << 24), set()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    while line := await reader.readline():
        message = json.loads(line)
        if "method" not in message or "id" not in message:
            continue
        params = message.get("params") or {}
        if message["method"] == "tools/call":
            tasks.add(task := asyncio.ensure_future(call(message["id"], params)))
            task.add_done_callback(tasks.discard)
        else:
            send({"id": message["id"], **answer(message["method"], params)})


if __name__ == "__main__":
    stand_back()
    asyncio.run(main())
