"""What a change of a contract asks of clients, and how it is told."""

from __future__ import annotations

from typing import Any

import pytest

from henslowe.actors.contracts import Step, compare
from henslowe.actors.endpoints import Contract, JsonObject

STRING, INTEGER = {"type": "string"}, {"type": "integer"}


def schema(*required: str, closed: bool = False, **properties: Any) -> JsonObject:
    made = {"type": "object", "properties": properties, "required": list(required)}
    return {**made, "additionalProperties": False} if closed else made


def tool(name: str = "add", **fields: Any) -> JsonObject:
    return {"name": name, "inputSchema": schema("a", a=STRING), **fields}


def tools(*listed: JsonObject) -> Contract:
    return Contract(tools=listed)


CASES: dict[str, tuple[JsonObject, JsonObject, Step, str]] = {
    "a new demand": (
        tool(),
        tool(inputSchema=schema("a", "c", a=STRING, c=STRING)),
        Step.MAJOR,
        "tool 'add': argument c is required",
    ),
    "a narrower type": (
        tool(),
        tool(inputSchema=schema("a", a=INTEGER)),
        Step.MAJOR,
        "tool 'add': argument a: string is not accepted, only integer",
    ),
    "an argument gone from a closed object": (
        tool(inputSchema=schema(closed=True, a=STRING, b=STRING)),
        tool(inputSchema=schema(closed=True, a=STRING)),
        Step.MAJOR,
        "tool 'add': argument b removed",
    ),
    "an optional argument": (
        tool(inputSchema=schema(closed=True, a=STRING)),
        tool(inputSchema=schema(closed=True, a=STRING, b=STRING)),
        Step.MINOR,
        "tool 'add': optional argument b added",
    ),
    "an optional argument where anything was allowed": (
        tool(),
        tool(inputSchema=schema("a", a=STRING, b=STRING)),
        Step.RISKY,
        "tool 'add': argument b: was anything, and has a schema now",
    ),
    "another default": (
        tool(inputSchema=schema(a={**STRING, "default": "x"})),
        tool(inputSchema=schema(a={**STRING, "default": "y"})),
        Step.RISKY,
        "tool 'add': argument a: default is 'y', was 'x'",
    ),
    "a description": (
        tool(description="Adds."),
        tool(description="Adds numbers."),
        Step.PATCH,
        "tool 'add': description changed",
    ),
    "a tool that writes now": (
        tool(annotations={"readOnlyHint": True}),
        tool(),
        Step.RISKY,
        "tool 'add': readOnlyHint is false, was true",
    ),
    "a tool that only reads now": (
        tool(),
        tool(annotations={"readOnlyHint": True}),
        Step.MINOR,
        "tool 'add': readOnlyHint is true, was false",
    ),
    "a result that may lack a field": (
        tool(outputSchema=schema("sum", sum=INTEGER)),
        tool(outputSchema=schema(sum=INTEGER)),
        Step.MAJOR,
        "tool 'add': result sum is not always there any more",
    ),
    "a result that promises more": (
        tool(outputSchema=schema("sum", sum=INTEGER)),
        tool(outputSchema=schema("sum", "carry", sum=INTEGER, carry=INTEGER)),
        Step.MINOR,
        "tool 'add': outputSchema changed; all results fit the old one",
    ),
    "results without structure": (
        tool(outputSchema=schema()),
        tool(),
        Step.MAJOR,
        "tool 'add': outputSchema removed: results are structured no more",
    ),
    "a schema written otherwise": (
        tool(inputSchema=schema(a={"type": ["string", "null"]})),
        tool(inputSchema=schema(a={"anyOf": [STRING, {"type": "null"}]})),
        Step.PATCH,
        "tool 'add': inputSchema is written otherwise, and accepts the same",
    ),
}


@pytest.mark.parametrize(("old", "new", "step", "text"), CASES.values(), ids=CASES)
def test_a_change_of_a_tool_has_its_step_and_its_words(old: JsonObject, new: JsonObject, step: Step, text: str) -> None:
    diff = compare(tools(old), tools(new))
    assert (diff.step, str(diff.changes[0])) == (step, text)


def test_what_is_only_in_one_contract_was_removed_or_is_new() -> None:
    old = Contract(tools=(tool("a"),), resources=({"uri": "file:///x"},), prompts=({"name": "p"},))
    new = Contract(tools=(tool("b"),), resource_templates=({"uriTemplate": "file:///{x}"},))
    assert [str(change) for change in compare(old, new).changes] == [
        "tool 'a': removed",
        "prompt 'p': removed",
        "resource 'file:///x': removed",
        "tool 'b': new",
        "resource template 'file:///{x}': new",
    ]


def test_arguments_of_prompts_count_like_those_of_tools() -> None:
    old = Contract(prompts=({"name": "p", "arguments": [{"name": "a", "required": True}, {"name": "b"}]},))
    new = Contract(prompts=({"name": "p", "arguments": [{"name": "a"}, {"name": "c", "required": True}]},))
    assert [(change.step, change.text) for change in compare(old, new).changes] == [
        (Step.MAJOR, "argument c is required"),
        (Step.RISKY, "argument b removed"),
        (Step.MINOR, "argument a is optional"),
    ]


def test_equal_contracts_have_no_difference() -> None:
    diff = compare(Contract(tools=(tool(),), digest="d"), Contract(tools=(tool(),), digest="d"))
    assert (diff.step, diff.summary) == (Step.NONE, "unchanged")


def test_the_summary_tells_the_gravest_change_and_counts_the_rest() -> None:
    diff = compare(tools(tool("a"), tool("b")), tools(tool("b", title="B"), tool("c")))
    assert diff.summary == "major: tool 'a': removed (and 2 more)"
    assert [change.step.word for change in diff.of(Step.MINOR)] == ["minor"]


def test_a_flood_of_changes_is_counted_and_not_told_in_full() -> None:
    diff = compare(tools(*(tool(f"t{at}") for at in range(500))), tools())
    assert (len(diff.changes), diff.more) == (200, 300)
