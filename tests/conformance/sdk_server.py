"""The same server as `server`, but made with the MCP SDK: both eras, over pipes or over HTTP.

    sdk_server.py [--legacy] stdio
    sdk_server.py [--legacy] PORT      http://127.0.0.1:PORT/mcp; 0 for a free one, which is printed

What it answers is `server`'s; how it is said is the SDK's. Towards clients of the handshake era the questions of a
tool are requests of its own. With `--legacy` it knows no other era, as most servers that exist.
"""

import asyncio
import json
import socket
import sys
import warnings
import weakref

import mcp_types as types
import server as suite
import tasks
import uvicorn
from mcp.server.connection import Connection
from mcp.server.lowlevel import Server
from mcp.server.runner import serve_loop
from mcp.server.stdio import stdio_server
from mcp.server.subscriptions import (
    InMemorySubscriptionBus,
    ListenHandler,
    PromptsListChanged,
    ResourceUpdated,
    ToolsListChanged,
)
from mcp.shared.exceptions import MCPDeprecationWarning, MCPError
from mcp.shared.message import ServerMessageMetadata
from pydantic import TypeAdapter
from wire import text

warnings.simplefilter("ignore", MCPDeprecationWarning)

MODERN = suite.VERSION
QUESTION = TypeAdapter(types.ServerRequest)
ANSWERS = {
    "elicitation/create": types.ElicitResult,
    "sampling/createMessage": types.CreateMessageResult,
    "roots/list": types.ListRootsResult,
}
bus = InMemorySubscriptionBus()
named: weakref.WeakKeyDictionary[Connection, set[str]] = weakref.WeakKeyDictionary()
"""What was asked under its name, by session."""


class Request(suite.Request):
    """A request that the SDK has read."""

    def __init__(self, ctx) -> None:
        super().__init__({"id": ctx.request_id, "method": ctx.method, "params": dict(ctx.params or {})})
        self.ctx = ctx
        self.said = []
        able = ctx.session.client_capabilities
        self.capabilities = able.model_dump(by_alias=True, exclude_none=True) if able is not None else {}

    def progress(self, progress: int, total: int) -> None:
        token = self.meta.get("progressToken")
        if token is not None:
            params = types.ProgressNotificationParams(progress_token=token, progress=progress, total=total)
            self.say(self.ctx.session.send_notification(types.ProgressNotification(params=params), self.id))

    def log(self, text: str) -> None:
        self.say(self.ctx.session.send_log_message("info", text, related_request_id=self.id))

    def say(self, sending) -> None:
        self.said.append(asyncio.ensure_future(sending))

    async def ask(self, name: str, question: dict) -> dict:
        """A request to the client, on the stream of this one; its id is its name, the first time in a session.

        An id may not come again in a session. Later ones are numbered by the SDK, as other servers' are all.
        """
        request = QUESTION.validate_python(question)
        asked = named.setdefault(self.ctx.session._connection, set())
        if name in asked:
            about = ServerMessageMetadata(related_request_id=self.id)
            answer = await self.ctx.session.send_request(request, ANSWERS[question["method"]], metadata=about)
            return answer.model_dump(mode="json", by_alias=True, exclude_none=True)
        asked.add(name)
        params = request.model_dump(by_alias=True, mode="json", exclude_none=True).get("params")
        # `ServerSession.send_request` hands no id on.
        return await self.ctx.session._request_outbound.send_raw_request(
            question["method"], params, {"request_id": name}
        )


async def handle(ctx, _params) -> dict:
    request = Request(ctx)
    try:
        result = await suite.answer(request)
        while ctx.protocol_version != MODERN and result.get("resultType") == "input_required":
            request.params["requestState"] = result.get("requestState")
            questions = result["inputRequests"]
            answers = await asyncio.gather(*(request.ask(*question) for question in questions.items()))
            request.responses = dict(zip(questions, answers, strict=True))
            result = await suite.answer(request)
    except suite.Refused as refused:
        raise MCPError(**refused.error) from None
    await asyncio.gather(*request.said)
    return {"resultType": "complete", **result}


def changes(event):
    async def tool(_request) -> dict:
        await bus.publish(event)
        return text("It changed.")

    return tool


WATCHED = "test://watched-resource"
hanging = {"now": 0, "cancelled": 0}


async def update(request: Request) -> dict:
    """Says that a resource changed, to listeners of either era."""
    await bus.publish(ResourceUpdated(uri=WATCHED))
    if request.ctx.protocol_version != MODERN:
        await request.ctx.session.send_resource_updated(WATCHED)
    return text("It was updated.")


async def hang(_request: Request) -> dict:
    """Does not answer, and counts who gave up."""
    hanging["now"] += 1
    try:
        await asyncio.Event().wait()
    except BaseException:
        hanging["cancelled"] += 1
        raise
    finally:
        hanging["now"] -= 1
    return text("never")


async def hung(_request: Request) -> dict:
    return text(json.dumps(hanging))


async def nothing(_ctx, _params) -> types.EmptyResult:
    return types.EmptyResult()


def make() -> Server:
    """The server with its handlers."""
    made = Server("conformance", version="1.0.0", on_subscriptions_listen=ListenHandler(bus))
    made.extensions[tasks.EXTENSION] = {}
    suite.TOOLS["test_trigger_tool_change"] = changes(ToolsListChanged())
    suite.TOOLS["test_trigger_prompt_change"] = changes(PromptsListChanged())
    suite.TOOLS |= {"test_resource_update": update, "test_hang": hang, "test_hung": hung}
    for method, params in {
        "tools/list": types.PaginatedRequestParams,
        "tools/call": types.CallToolRequestParams,
        "prompts/list": types.PaginatedRequestParams,
        "prompts/get": types.GetPromptRequestParams,
        "resources/list": types.PaginatedRequestParams,
        "resources/templates/list": types.PaginatedRequestParams,
        "resources/read": types.ReadResourceRequestParams,
        "completion/complete": types.CompleteRequestParams,
        "tasks/get": types.RequestParams,
        "tasks/update": types.RequestParams,
        "tasks/cancel": types.RequestParams,
    }.items():
        made.add_request_handler(method, params, handle)
    made.add_request_handler("resources/subscribe", types.SubscribeRequestParams, nothing)
    made.add_request_handler("resources/unsubscribe", types.UnsubscribeRequestParams, nothing)
    made.add_request_handler("logging/setLevel", types.SetLevelRequestParams, nothing)
    return made


async def serve_pipes(legacy: bool) -> None:
    made = make()
    async with stdio_server() as (read, write):
        if not legacy:
            await made.run(read, write, made.create_initialization_options())
        else:
            async with made.lifespan(made) as state:
                options = made.create_initialization_options()
                await serve_loop(made, read, write, lifespan_state=state, init_options=options)


def only_handshakes(app):
    """The application, refusing what it would understand of the stateless era."""

    async def guarded(scope, receive, send) -> None:
        if (b"mcp-protocol-version", MODERN.encode()) not in scope.get("headers", ()):
            await app(scope, receive, send)
            return
        error = {"code": -32000, "message": "Bad Request: Unsupported protocol version"}
        body = json.dumps({"jsonrpc": "2.0", "id": "server-error", "error": error}).encode()
        headers = [(b"content-type", b"application/json")]
        await send({"type": "http.response.start", "status": 400, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return guarded


def serve_http(port: int, legacy: bool) -> None:
    app = make().streamable_http_app()
    listening = socket.create_server(("127.0.0.1", port))
    print(f"http://127.0.0.1:{listening.getsockname()[1]}/mcp", flush=True)
    config = uvicorn.Config(only_handshakes(app) if legacy else app, log_level="error", timeout_graceful_shutdown=1)
    uvicorn.Server(config).run([listening])


if __name__ == "__main__":
    *flags, where = sys.argv[1:]
    if where == "stdio":
        asyncio.run(serve_pipes("--legacy" in flags))
    else:
        serve_http(int(where), "--legacy" in flags)
