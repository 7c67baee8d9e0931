"""The server that the MCP conformance suite asks for, in the stateless era (2026-07-28), over pipes, without a library.

The suite calls tools, prompts and resources by names of its own and looks at what comes back. Run behind a node it
therefore judges the node: the HTTP side entirely, and for clients of the handshake era the bridge, since this server
knows neither `initialize` nor requests of its own to the client. Its tools are in `suite_tools` and `tasks`.
"""

import asyncio
import json
import sys

import tasks
from suite_tools import ARGUMENTS, PICTURE, PNG, TOOLS
from wire import META, STRING, Refused, Request, ask, elicit, listeners, resource, write

VERSION = "2026-07-28"
NAMED = {META + "serverInfo": {"name": "conformance", "version": "1.0.0"}}

PROMPTS = {
    "test_simple_prompt": [],
    "test_prompt_with_arguments": ["arg1", "arg2"],
    "test_prompt_with_embedded_resource": ["resourceUri"],
    "test_prompt_with_image": [],
    "test_input_required_result_prompt": [],
}


def prompt(request: Request) -> dict:
    given = request.arguments

    def says(*blocks: dict | str) -> dict:
        return {
            "messages": [
                {"role": "user", "content": {"type": "text", "text": block} if isinstance(block, str) else block}
                for block in blocks
            ]
        }

    match request.params.get("name"):
        case "test_simple_prompt":
            return says("This is a simple prompt for testing.")
        case "test_prompt_with_arguments":
            return says(f"Prompt with arguments: arg1='{given.get('arg1')}', arg2='{given.get('arg2')}'")
        case "test_prompt_with_embedded_resource":
            embedded = resource(given.get("resourceUri", ""), "Embedded resource content for testing.")
            return says(embedded, "Please process the embedded resource above.")
        case "test_prompt_with_image":
            return says(PICTURE, "Please analyze the image above.")
        case "test_input_required_result_prompt":
            if not request.answered("user_context"):
                return ask(user_context=elicit("What context should the prompt use?", context=STRING))
            return says(f"Use this: {(request.responses['user_context'].get('content') or {}).get('context')}")
    raise Refused(-32602, f"Unknown prompt: {request.params.get('name')}")


RESOURCES = {
    "test://static-text": ("text/plain", "A text that stays as it is"),
    "test://static-binary": ("image/png", "A picture that stays as it is"),
    "test://watched-resource": ("text/plain", "A text that somebody may watch"),
}


def read(uri: str) -> dict:
    before, _, rest = uri.partition("test://template/")
    name, _, after = rest.partition("/")
    if uri == "test://static-binary":
        return {"contents": [{"uri": uri, "mimeType": "image/png", "blob": PNG}]}
    if not before and name and after == "data":
        facts = {"id": name, "templateTest": True, "data": f"Data for ID: {name}"}
        return {"contents": [{"uri": uri, "mimeType": "application/json", "text": json.dumps(facts)}]}
    if uri in RESOURCES:
        words = "This is the content of the static text resource." if "static" in uri else "Nobody changed this."
        return {"contents": [{"uri": uri, "mimeType": "text/plain", "text": words}]}
    raise Refused(-32602, "Resource not found", {"uri": uri})


CACHED = {"ttlMs": 1_000, "cacheScope": "private"}
CAPABILITIES = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"subscribe": True},
    "completions": {},
    "logging": {},
    "extensions": {tasks.EXTENSION: {}},
}


async def answer(request: Request) -> dict | None:
    match request.method:
        case "server/discover":
            return {"supportedVersions": [VERSION], "capabilities": CAPABILITIES, **CACHED}
        case "tools/list":
            return {"tools": [listed_tool(name) for name in sorted(TOOLS)], **CACHED}
        case "tools/call":
            tool = TOOLS.get(request.params.get("name"))
            if tool is None:
                raise Refused(-32602, f"Unknown tool: {request.params.get('name')}")
            return await tool(request)
        case "prompts/list":
            return {"prompts": [listed_prompt(name) for name in PROMPTS], **CACHED}
        case "prompts/get":
            return prompt(request)
        case "resources/list":
            listed = [
                {"uri": uri, "name": uri.removeprefix("test://"), "description": words, "mimeType": mime}
                for uri, (mime, words) in RESOURCES.items()
            ]
            return {"resources": listed, **CACHED}
        case "resources/templates/list":
            template = {
                "uriTemplate": "test://template/{id}/data",
                "name": "template",
                "description": "Data of an id",
                "mimeType": "application/json",
            }
            return {"resourceTemplates": [template], **CACHED}
        case "resources/read":
            return {**read(request.params.get("uri", "")), **CACHED}
        case "tasks/get" | "tasks/update" | "tasks/cancel":
            if not tasks.knows(request.capabilities):
                raise Refused(**tasks.missing())
            said = await tasks.about(request.method, request.params)
            if said is None:
                raise Refused(-32602, "Failed to retrieve task: Task not found")
            return said
        case "completion/complete":
            return {"completion": {"values": ["paris", "park", "party"], "total": 3, "hasMore": False}}
        case "subscriptions/listen":
            listeners[request.id] = request.params.get("notifications") or {}
            meta = {META + "subscriptionId": request.id}
            honoured = {"notifications": listeners[request.id], "_meta": meta}
            write({"method": "notifications/subscriptions/acknowledged", "params": honoured})
            return None
    raise Refused(-32601, "Method not found")


def listed_tool(name: str) -> dict:
    properties = ARGUMENTS.get(name, {})
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"name": name, "description": f"What the suite calls {name}", "inputSchema": schema}


def listed_prompt(name: str) -> dict:
    arguments = [{"name": argument, "description": argument, "required": True} for argument in PROMPTS[name]]
    return {"name": name, "description": f"What the suite calls {name}", "arguments": arguments}


async def serve(message: dict) -> None:
    request = Request(message)
    try:
        result = await answer(request)
    except Refused as refused:
        write({"id": request.id, "error": refused.error})
        return
    except Exception as failure:  # a request that nobody answers holds its client up, and makes the server look dead
        write({"id": request.id, "error": {"code": -32603, "message": f"{type(failure).__name__}: {failure}"}})
        raise
    if result is not None:
        write({"id": request.id, "result": {"resultType": "complete", "_meta": NAMED, **result}})


async def main() -> None:
    reader = asyncio.StreamReader(limit=1 << 24)
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    running: dict[object, asyncio.Task] = {}
    while line := await reader.readline():
        message = json.loads(line)
        if message.get("method") == "notifications/cancelled" and "id" not in message:
            cancelled = (message.get("params") or {}).get("requestId")
            listeners.pop(cancelled, None)
            if cancelled in running:
                running.pop(cancelled).cancel()
        elif "id" in message and "method" in message:
            task = running[message["id"]] = asyncio.create_task(serve(message))
            task.add_done_callback(lambda _, number=message["id"]: running.pop(number, None))


if __name__ == "__main__":
    asyncio.run(main())
