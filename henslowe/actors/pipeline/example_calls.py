"""Example calls: does the server do what it lists? Those of `service.toml`, and `examples` in the schemas of its tools.

Only read-only tools are called for the examples of their schemas: nobody said that the others may be. A result must fit
the `outputSchema` of its tool. Everything but `make_calls` is pure.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import jsonschema_rs

from henslowe.actors.endpoints import Contract, Endpoint, Era, JsonObject
from henslowe.config.manifest import Example
from henslowe.errors import HensloweError, StageFailed

SCHEMA_EXAMPLES_MAX: Final = 3
"""Per tool; more would make the check of a large server long."""
CALLS_MAX: Final = 100
_SHOWN_CHARS: Final = 200


@dataclass(slots=True, frozen=True)
class Call:
    """One call to be made."""

    tool: JsonObject
    arguments: JsonObject
    expect: JsonObject
    timeout_s: float
    origin: str
    """Who wants it, for the words."""

    @property
    def words(self) -> str:
        """The call as a person writes it."""
        return f"{self.tool['name']}({_shown(self.arguments)})"


def calls_of(contract: Contract, examples: Iterable[Example]) -> list[Call]:
    """The calls to be made, at most 100.

    Raises:
        StageFailed: An example is of a tool that the server does not list.
    """
    tools = {str(tool["name"]): tool for tool in contract.tools}
    calls = []
    for example in examples:
        if example.tool not in tools:
            known = ", ".join(sorted(tools)[:10]) or "none"
            raise StageFailed(
                f"examples: expected a tool that the server lists ({known}), got {example.tool!r}",
                hint="correct [[examples]] in service.toml",
            )
        calls.append(Call(tools[example.tool], example.arguments, example.expect, example.timeout_s, "service.toml"))
    return [*calls, *itertools.islice(_of_schemas(contract), max(0, CALLS_MAX - len(calls)))]


async def make_calls(endpoint: Endpoint, calls: Iterable[Call]) -> int:
    """Make them one after the other; how many there were.

    Raises:
        StageFailed: An answer is not what was expected, or does not come in time.
    """
    made = 0
    for call in calls:
        params = {"name": call.tool["name"], "arguments": call.arguments}
        try:
            answer = await endpoint.request("tools/call", params, era=Era.LEGACY, timeout_s=call.timeout_s)
        except TimeoutError:
            raise _failed(call, f"expected an answer within {call.timeout_s:g} s, got none") from None
        except HensloweError as error:
            raise _failed(call, error.message) from error
        if problem := problem_of(call, answer):
            raise _failed(call, problem)
        made += 1
    return made


def problem_of(call: Call, answer: JsonObject) -> str:
    """What is wrong with an answer; "" when nothing is."""
    if "error" in answer:
        return f"expected a result, got error {_shown(answer['error'])}"
    result = answer["result"]
    said = {"isError": False, **result, "text": text_of(result)}
    expect = {"isError": False, **call.expect}
    if said["isError"] and not expect["isError"]:
        return f"expected no error, got {_shown(said['text'])}"
    if difference := difference_of(expect, said):
        return difference
    schema = call.tool.get("outputSchema")
    if schema is None or said["isError"]:
        return ""
    if "structuredContent" not in result:
        return "expected structuredContent, since it has an outputSchema, got none"
    try:
        jsonschema_rs.validator_for(schema, offline=True).validate(result["structuredContent"])
    except jsonschema_rs.ValidationError as error:
        where = "/".join(map(str, error.instance_path))
        return f"its result does not fit its outputSchema: {error.message}{f' (at {where})' if where else ''}"
    except (ValueError, jsonschema_rs.ReferencingError) as error:
        return f"cannot use its outputSchema: {error}"
    return ""


def difference_of(expected: Any, got: Any, place: str = "") -> str:
    """Where `got` lacks what is `expected` (objects: at least these keys; the rest: the same); "" for nowhere."""
    if isinstance(expected, dict) and isinstance(got, dict):
        for key, value in expected.items():
            inner = f"{place}.{key}" if place else key
            if key not in got:
                return f"expected {inner} to be {_shown(value)}, got none"
            if found := difference_of(value, got[key], inner):
                return found
        return ""
    if isinstance(expected, list) and isinstance(got, list) and len(expected) == len(got):
        pairs = enumerate(zip(expected, got, strict=True))
        return next(filter(None, (difference_of(one, two, f"{place}[{at}]") for at, (one, two) in pairs)), "")
    # 1 and 1.0 are one number in JSON; true is none
    same = expected == got and isinstance(expected, bool) == isinstance(got, bool)
    return "" if same else f"expected {place} to be {_shown(expected)}, got {_shown(got)}"


def text_of(result: JsonObject) -> str:
    """All text of a result, a line per block."""
    blocks = result.get("content") or ()
    return "\n".join(str(block.get("text", "")) for block in blocks if block.get("type") == "text")


def _of_schemas(contract: Contract) -> Iterator[Call]:
    for tool in contract.tools:
        annotations = tool.get("annotations") or {}
        examples = tool["inputSchema"].get("examples") if annotations.get("readOnlyHint") is True else None
        for example in examples[:SCHEMA_EXAMPLES_MAX] if isinstance(examples, list) else ():
            if isinstance(example, dict):
                yield Call(tool, example, {}, 10.0, "its inputSchema")


def _failed(call: Call, problem: str) -> StageFailed:
    return StageFailed(
        f"example call {call.words} of {call.origin}: {problem}",
        hint="correct the server, or the example",
        tool=call.tool["name"],
    )


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= _SHOWN_CHARS else f"{text[:_SHOWN_CHARS]}…"
