"""What a finished call says about the version that answered it, and whether a lost call may be made again. Pure."""

from __future__ import annotations

from typing import Final

from henslowe.actors.endpoints import Contract, JsonObject
from henslowe.actors.routes import Outcome
from henslowe.transport.gateway.protocol import CALLER_FAULTS
from henslowe.transport.gateway.tool_hints import hints_of
from henslowe.transport.mcp import jsonrpc
from henslowe.transport.mcp.large_json import LargeText

READS: Final = frozenset(
    {
        "completion/complete",
        "ping",
        "prompts/get",
        "prompts/list",
        "resources/list",
        "resources/read",
        "resources/templates/list",
        "server/discover",
        "tasks/cancel",
        "tasks/get",
        "tasks/list",
        "tasks/result",
        "tasks/update",
        "tools/list",
    }
)
"""Methods that change nothing at a server that keeps to the specification, or nothing more the second time."""

ERROR_CHARS_MAX: Final = 200
"""Of a server's own words about a failure."""


def outcome_of(answer: JsonObject) -> Outcome:
    """How a call ended, from its answer."""
    result = answer.get("result")
    if result is not None:
        return Outcome.TOOL_ERROR if isinstance(result, dict) and result.get("isError") is True else Outcome.OK
    error = answer.get("error")
    code = error.get("code") if isinstance(error, dict) else None
    return Outcome.INVALID_PARAMS if code in CALLER_FAULTS else Outcome.INTERNAL_ERROR


def subject_of(method: str, params: JsonObject | None) -> str:
    """What a call is counted under: the tool's name, else the method."""
    if method == "tools/call" and params is not None:
        name = params.get("name")
        if isinstance(name, str):
            return name
    return method


def may_repeat(method: str, params: JsonObject | None, contract: Contract) -> bool:
    """Whether a call that may already have run may run again: reads, and tools that say they are safe to repeat."""
    if method in READS:
        return True
    if method != "tools/call" or params is None:
        return False
    hints = hints_of(contract, params.get("name"))
    return hints.get("readOnlyHint") is True or hints.get("idempotentHint") is True


def reads_only(method: str, params: JsonObject | None, contract: Contract) -> bool:
    """Whether a call changes nothing at its server: reads, and tools that say that they only read."""
    if method in READS:
        return True
    if method != "tools/call" or params is None:
        return False
    return hints_of(contract, params.get("name")).get("readOnlyHint") is True


def error_text(answer: JsonObject) -> str:
    """Why a call failed, in its server's words, shortened for evidence; "" for a result that is no error."""
    error = answer.get("error")
    if isinstance(error, dict):
        return f"{error.get('code', jsonrpc.INTERNAL_ERROR)}: {error.get('message', '')}"[:ERROR_CHARS_MAX]
    if outcome_of(answer) is not Outcome.TOOL_ERROR:
        return ""
    content = answer["result"].get("content")
    for block in content if isinstance(content, list) else ():
        text = block.get("text") if isinstance(block, dict) else None
        if isinstance(text, LargeText):
            text = text.excerpt()
        if isinstance(text, str) and text.strip():
            return text.strip()[:ERROR_CHARS_MAX]
    return ""
