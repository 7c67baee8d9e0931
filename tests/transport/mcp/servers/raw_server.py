"""A legacy MCP server without any library: JSON lines on pipes, misbehaving as its first argument says."""

import json
import os
import sys

mode = sys.argv[1] if len(sys.argv) > 1 else "well"
version = "2025-06-18"


def say(message):
    sys.stdout.write(json.dumps(message) + "\n")
    sys.stdout.flush()


def answer(request, result):
    say({"jsonrpc": "2.0", "id": request["id"], "result": result})


def fail(request, code, message, data=None):
    say({"jsonrpc": "2.0", "id": request["id"], "error": {"code": code, "message": message, "data": data}})


TOOLS = [
    {"name": "echo", "inputSchema": {"type": "object"}, "x-unknown": {"kept": True}},
    {"name": "crash", "inputSchema": {"type": "object"}},
]


def call(request):
    params = request["params"]
    name, arguments = params["name"], params.get("arguments", {})
    token = params.get("_meta", {}).get("progressToken")
    if name == "echo":
        answer(request, {"content": [], "structuredContent": {"params": params, "id": request["id"]}, "x-extra": [1]})
    elif name == "progress":
        notify("notifications/progress", {"progressToken": token, "progress": 1, "total": 2})
        notify("notifications/message", {"level": "info", "data": "half-way"})
        answer(request, {"content": []})
    elif name == "logs":
        log = {"jsonrpc": "2.0", "method": "notifications/message", "params": {"level": "info", "data": "half-way"}}
        done = {"jsonrpc": "2.0", "id": request["id"], "result": {"content": []}}
        sys.stdout.write(json.dumps(log) + "\n" + json.dumps(done) + "\n")
        sys.stdout.flush()
    elif name == "crash":
        sys.stderr.write("about to fall over\n")
        sys.stderr.flush()
        os._exit(3)
    elif name == "big":
        answer(request, {"content": [{"type": "text", "text": "x" * arguments["bytes"]}]})
    elif name == "rubbish":
        sys.stdout.write("debug: this should not be here\n")
        answer(request, {"content": []})
    elif name == "ask":
        say({"jsonrpc": "2.0", "id": "p", "method": "ping"})
        say({"jsonrpc": "2.0", "id": "s", "method": "sampling/createMessage", "params": {}})
        replies = {}
        while len(replies) < 2:
            reply = json.loads(sys.stdin.readline())
            replies[reply["id"]] = reply
        answer(request, {"content": [], "structuredContent": replies})
    elif name == "add":
        TOOLS.append({"name": "added", "inputSchema": {"type": "object"}})
        notify("notifications/tools/list_changed", None)
        answer(request, {"content": []})
    elif name == "wait":
        waiting.append(request["id"])
    elif name == "waiting":
        answer(request, {"content": [], "structuredContent": {"cancelled": cancelled, "waiting": waiting}})
    else:
        fail(request, -32602, f"Unknown tool: {name}")


def notify(method, params):
    say({"jsonrpc": "2.0", "method": method, **({"params": params} if params else {})})


waiting, cancelled, probed = [], [], []

if mode == "exit":
    sys.stderr.write("no configuration found\n")
    sys.exit(4)
if mode == "banner":
    print("Listening on stdio!", flush=True)
for line in sys.stdin:
    request = json.loads(line)
    method = request.get("method")
    if mode == "mute":
        continue
    if method == "server/discover":
        if mode == "dies-on-probe":
            sys.stderr.write("expected initialize\n")
            sys.exit(1)
        if mode == "ignores-probe":
            probed.append(request["id"])
            continue
        fail(request, -32601, "Method not found")
    elif method == "initialize":
        capabilities = {"tools": {"listChanged": True}, "resources": {}}
        answered = "1999-01-01" if mode == "ancient" else version
        info = {"name": "raw", "version": "1"}
        answer(request, {"protocolVersion": answered, "capabilities": capabilities, "serverInfo": info})
    elif method == "tools/list":
        if mode == "endless":
            cursor = str(int(request.get("params", {}).get("cursor", "0")) + 1)
            answer(request, {"tools": [], "nextCursor": cursor})
        elif "cursor" in request.get("params", {}):
            answer(request, {"tools": TOOLS[1:]})
        else:
            answer(request, {"tools": TOOLS[:1], "nextCursor": "second"})
    elif method == "tools/call":
        call(request)
    elif method == "resources/list":
        answer(request, {"resources": []})
    elif method == "resources/read":
        fail(request, -32002, "Resource not found", {"uri": request["params"]["uri"]})
    elif method == "notifications/cancelled":
        cancelled.append(request["params"]["requestId"])
    elif "id" in request:
        fail(request, -32601, "Method not found")
if mode == "lingers":
    import time

    time.sleep(60)
