"""The tools that the MCP conformance suite calls; those whose calls become tasks are in `tasks`."""

import asyncio
import base64
import json
import struct
import zlib

import tasks
from wire import (
    META,
    ROOTS,
    STRING,
    Refused,
    Request,
    ask,
    content_of,
    elicit,
    listeners,
    remember,
    resource,
    sample,
    text,
    write,
)


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
