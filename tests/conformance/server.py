"""The server that the MCP conformance suite asks for, in the stateless era (2026-07-28), over pipes, without a library.

The suite calls tools, prompts and resources by names of its own and looks at what comes back. Run behind a node it
therefore judges the node: the HTTP side entirely, and for clients of the handshake era the bridge, since this server
knows neither `initialize` nor requests of its own to the client.
"""

import asyncio
import base64
import hashlib
import hmac
import json
import secrets
import struct
import sys
import zlib

import tasks

VERSION = "2026-07-28"
META = "io.modelcontextprotocol/"
SECRET = secrets.token_bytes(32)
NAMED = {META + "serverInfo": {"name": "conformance", "version": "1.0.0"}}


def png() -> str:
    """One red pixel."""

    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    head = struct.pack(">IIBBBBB", 1, 1, 8, 2, 0, 0, 0)
    chunks = chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(b"\0\xff\0\0")) + chunk(b"IEND", b"")
    return base64.b64encode(b"\x89PNG\r\n\x1a\n" + chunks).decode()


def wav() -> str:
    """A millisecond of silence."""
    samples = bytes([128] * 8)
    form = struct.pack("<HHIIHH", 1, 1, 8000, 8000, 1, 8)
    body = b"WAVEfmt " + struct.pack("<I", len(form)) + form + b"data" + struct.pack("<I", len(samples)) + samples
    return base64.b64encode(b"RIFF" + struct.pack("<I", len(body)) + body).decode()


PNG, WAV = png(), wav()


class Refused(Exception):
    """A JSON-RPC error."""

    def __init__(self, code: int, message: str, data: object = None) -> None:
        super().__init__(message)
        self.error = {"code": code, "message": message, **({"data": data} if data is not None else {})}


class Request:
    """One request, with what a handler may do about it."""

    def __init__(self, message: dict) -> None:
        self.id = message["id"]
        self.method = message["method"]
        self.params = message.get("params") or {}
        self.meta = self.params.get("_meta") or {}
        self.arguments = self.params.get("arguments") or {}
        self.responses = self.params.get("inputResponses") or {}
        self.capabilities = self.meta.get(META + "clientCapabilities") or {}

    def progress(self, progress: int, total: int) -> None:
        if "progressToken" in self.meta:
            token = self.meta["progressToken"]
            notify("notifications/progress", {"progressToken": token, "progress": progress, "total": total})

    def log(self, text: str) -> None:
        if META + "logLevel" in self.meta:
            notify("notifications/message", {"level": "info", "data": text})

    def answered(self, *keys: str) -> bool:
        """Whether the client answered all questions with something that can be an answer."""
        return all(isinstance(self.responses.get(key), dict) and self.responses[key] for key in keys)

    def state(self) -> dict | None:
        """What `remember` put into the state that the client sends back; None without one."""
        sealed = self.params.get("requestState")
        if sealed is None:
            return None
        body, _, seal = str(sealed).partition(".")
        if not hmac.compare_digest(seal, sign(body)):
            raise Refused(-32602, "Invalid requestState")
        return json.loads(base64.urlsafe_b64decode(body))


def sign(body: str) -> str:
    return hmac.new(SECRET, body.encode(), hashlib.sha256).hexdigest()


def remember(**facts: object) -> str:
    """Facts as a state that cannot be changed by a client."""
    body = base64.urlsafe_b64encode(json.dumps(facts).encode()).decode()
    return f"{body}.{sign(body)}"


def write(message: dict) -> None:
    sys.stdout.write(json.dumps({"jsonrpc": "2.0", **message}) + "\n")
    sys.stdout.flush()


def notify(method: str, params: dict) -> None:
    write({"method": method, "params": params})


def text(words: str, **more: object) -> dict:
    return {"content": [{"type": "text", "text": words}], **more}


def resource(uri: str, words: str, mime: str = "text/plain") -> dict:
    return {"type": "resource", "resource": {"uri": uri, "mimeType": mime, "text": words}}


def elicit(message: str, **properties: dict) -> dict:
    schema = {"type": "object", "properties": properties, "required": list(properties)}
    return {"method": "elicitation/create", "params": {"mode": "form", "message": message, "requestedSchema": schema}}


def sample(prompt: str, tokens: int = 100) -> dict:
    messages = [{"role": "user", "content": {"type": "text", "text": prompt}}]
    return {"method": "sampling/createMessage", "params": {"messages": messages, "maxTokens": tokens}}


ROOTS = {"method": "roots/list", "params": {}}
STRING = {"type": "string"}


def ask(state: str | None = None, **questions: dict) -> dict:
    result = {"resultType": "input_required", "inputRequests": questions}
    return result | ({"requestState": state} if state is not None else {})


def content_of(response: dict) -> str:
    """The words of a sampling result."""
    content = response.get("content") or {}
    blocks = content if isinstance(content, list) else [content]
    return " ".join(block.get("text", "") for block in blocks)


# -- tools ----------------


async def logging(request: Request) -> dict:
    for words in ("Tool execution started", "Tool processing data", "Tool execution completed"):
        request.log(words)
        await asyncio.sleep(0.05)
    return text("Logged three times.")


async def progress(request: Request) -> dict:
    for done in (0, 50, 100):
        request.progress(done, 100)
        await asyncio.sleep(0.05)
    return text("Done.")


async def sampling(request: Request) -> dict:
    if not request.answered("answer"):
        return ask(answer=sample(request.arguments.get("prompt", "")))
    return text(f"LLM response: {content_of(request.responses['answer'])}")


def asking(words: str, message: str, **properties: dict):
    """A tool that asks one form and says what came back."""

    async def tool(request: Request) -> dict:
        if not request.answered("form"):
            return ask(form=elicit(message or request.arguments.get("message", ""), **properties))
        form = request.responses["form"]
        return text(f"{words}: action={form.get('action')}, content={json.dumps(form.get('content') or {})}")

    return tool


async def needs_sampling(request: Request) -> dict:
    if "sampling" not in request.capabilities:
        raise Refused(-32021, "Missing required client capability", {"requiredCapabilities": {"sampling": {}}})
    return text("The client can sample.")


async def elicitation(request: Request) -> dict:
    given = request.responses.get("user_name")
    name = (given.get("content") or {}).get("name") if isinstance(given, dict) else None
    if not isinstance(name, str):
        return ask(user_name=elicit("What is your name?", name=STRING))
    return text(f"Hello, {name}!")


async def one_sampling(request: Request) -> dict:
    if not request.answered("capital_question"):
        return ask(capital_question=sample("What is the capital of France?"))
    return text(content_of(request.responses["capital_question"]))


async def list_roots(request: Request) -> dict:
    if not request.answered("client_roots"):
        return ask(client_roots=ROOTS)
    return text(json.dumps(request.responses["client_roots"].get("roots", [])))


async def with_state(request: Request) -> dict:
    state = request.state()
    if state is None or not request.answered("confirm"):
        return ask(remember(step="confirm"), confirm=elicit("Please confirm", ok={"type": "boolean"}))
    return text("state-ok")


async def several(request: Request) -> dict:
    state = request.state()
    if state is None or not request.answered("user_name", "greeting", "client_roots"):
        name = elicit("What is your name?", name=STRING)
        return ask(remember(step="all"), user_name=name, greeting=sample("Generate a greeting", 50), client_roots=ROOTS)
    return text("All three were answered.")


async def rounds(request: Request) -> dict:
    state = request.state() or {}
    if state.get("step") == 2 and request.answered("step2"):
        return text(f"{state['name']} likes {(request.responses['step2'].get('content') or {}).get('color')}.")
    if state.get("step") == 1 and request.answered("step1"):
        name = (request.responses["step1"].get("content") or {}).get("name", "")
        return ask(remember(step=2, name=name), step2=elicit("Step 2: What is your favorite color?", color=STRING))
    return ask(remember(step=1), step1=elicit("Step 1: What is your name?", name=STRING))


async def what_the_client_can(request: Request) -> dict:
    questions = {
        "sampling": ("an_answer", sample("Say anything")),
        "elicitation": ("a_name", elicit("What is your name?", name=STRING)),
        "roots": ("roots", ROOTS),
    }
    able = dict(question for capability, question in questions.items() if capability in request.capabilities)
    return ask(**able) if able and not request.answered(*able) else text("Nothing more to ask.")


async def greet(request: Request) -> dict:
    return text(f"Hello, {request.arguments.get('name')}!")


def later(name: str):
    """A tool whose calls become tasks, for clients that know of them."""

    async def tool(request: Request) -> dict:
        arguments = request.arguments
        if not tasks.knows(request.capabilities):
            if name in tasks.ONLY_TASKS:
                raise Refused(**tasks.missing())
            return await tasks.TOOLS[name](None, arguments)
        if name == "test_tool_with_task":
            if not request.answered("user_name"):
                return ask(user_name=elicit("What is your name?", name=STRING))
            given = request.responses["user_name"].get("content") or {}
            arguments = {"user_name": given.get("name")}
        return tasks.start(name, arguments)

    return tool


def changes(kind: str):
    async def tool(_: Request) -> dict:
        for listener, wanted in listeners.items():
            if wanted.get(f"{kind}ListChanged"):
                meta = {"_meta": {META + "subscriptionId": listener}}
                write({"method": f"notifications/{kind}/list_changed", "params": meta})
        return text(f"The {kind} changed.")

    return tool


def says(result: dict):
    async def tool(_: Request) -> dict:
        return result

    return tool


PICTURE = {"type": "image", "data": PNG, "mimeType": "image/png"}
MIXED = [
    {"type": "text", "text": "Multiple content types test:"},
    PICTURE,
    resource("test://mixed-content-resource", '{"test":"data","value":123}', "application/json"),
]
DEFAULTS = {
    "name": {"type": "string", "default": "John Doe"},
    "age": {"type": "integer", "default": 30},
    "score": {"type": "number", "default": 95.5},
    "status": {"type": "string", "enum": ["active", "inactive", "pending"], "default": "active"},
    "verified": {"type": "boolean", "default": True},
}
THREE = ["option1", "option2", "option3"]
TITLED = [{"const": f"value{n}", "title": f"{word} Option"} for n, word in enumerate(("First", "Second", "Third"), 1)]
ENUMS = {
    "untitledSingle": {"type": "string", "enum": THREE},
    "titledSingle": {"type": "string", "oneOf": TITLED},
    "legacyEnum": {
        "type": "string",
        "enum": ["opt1", "opt2", "opt3"],
        "enumNames": ["Option One", "Option Two", "Option Three"],
    },
    "untitledMulti": {"type": "array", "items": {"type": "string", "enum": THREE}},
    "titledMulti": {"type": "array", "items": {"anyOf": TITLED}},
}
USER = {
    "username": {"type": "string", "description": "User's response"},
    "email": {"type": "string", "description": "User's email address"},
}
TOOLS = {
    "test_simple_text": says(text("This is a simple text response for testing.")),
    "test_image_content": says({"content": [PICTURE]}),
    "test_audio_content": says({"content": [{"type": "audio", "data": WAV, "mimeType": "audio/wav"}]}),
    "test_embedded_resource": says(
        {"content": [resource("test://embedded-resource", "This is an embedded resource content.")]}
    ),
    "test_multiple_content_types": says({"content": MIXED}),
    "test_error_handling": says(text("This tool intentionally returns an error for testing", isError=True)),
    "test_tool_with_logging": logging,
    "test_logging_tool": logging,
    "test_tool_with_progress": progress,
    "test_sampling": sampling,
    "test_elicitation": asking("User response", "", **USER),
    "test_elicitation_sep1034_defaults": asking("Elicitation completed", "Check these values", **DEFAULTS),
    "test_elicitation_sep1330_enums": asking("Elicitation completed", "Choose", **ENUMS),
    "test_streaming_elicitation": asking("Elicitation completed", "Who are you?", name=STRING),
    "test_missing_capability": needs_sampling,
    "test_input_required_result_elicitation": elicitation,
    "test_input_required_result_sampling": one_sampling,
    "test_input_required_result_list_roots": list_roots,
    "test_input_required_result_request_state": with_state,
    "test_input_required_result_tampered_state": with_state,
    "test_input_required_result_multiple_inputs": several,
    "test_input_required_result_multi_round": rounds,
    "test_input_required_result_capabilities": what_the_client_can,
    "test_custom_headers": says(text("The headers agree with the arguments.")),
    "test_trigger_tool_change": changes("tools"),
    "test_trigger_prompt_change": changes("prompts"),
    "greet": greet,
    **{name: later(name) for name in tasks.TOOLS},
}
ARGUMENTS = {
    "test_sampling": {"prompt": STRING},
    "test_elicitation": {"message": STRING},
    "test_custom_headers": {"region": {"type": "string", "x-mcp-header": "Region"}},
}

# -- prompts and resources ----------------

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


# -- the protocol ----------------

CACHED = {"ttlMs": 1_000, "cacheScope": "private"}
CAPABILITIES = {
    "tools": {"listChanged": True},
    "prompts": {"listChanged": True},
    "resources": {"subscribe": True},
    "completions": {},
    "logging": {},
    "extensions": {tasks.EXTENSION: {}},
}
listeners: dict[object, dict] = {}


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
