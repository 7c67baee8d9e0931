"""Example calls: which are made, what counts as right, and how a failure is told."""

from typing import Any

import pytest
from delivering import Node, server

from henslowe.actors.endpoints import Contract
from henslowe.actors.pipeline.example_calls import CALLS_MAX, Call, calls_of, difference_of, problem_of
from henslowe.config.manifest import Example
from henslowe.errors import StageFailed


def tool(name: str, *examples: Any, read_only: bool = True, **more: Any) -> dict[str, Any]:
    schema = {"type": "object", "examples": list(examples)}
    return {"name": name, "inputSchema": schema, "annotations": {"readOnlyHint": read_only}, **more}


def call(expect: dict[str, Any] | None = None, **more: Any) -> Call:
    return Call(tool("add", **more), {"a": 1}, expect or {}, 1.0, "service.toml")


def result(text: str = "3", **more: Any) -> dict[str, Any]:
    return {"result": {"content": [{"type": "text", "text": text}], **more}}


def test_examples_of_schemas_are_called_for_read_only_tools_only() -> None:
    contract = Contract(tools=(tool("reads", {"a": 1}, "no object"), tool("writes", {"a": 2}, read_only=False)))
    assert [(each.tool["name"], each.arguments) for each in calls_of(contract, ())] == [("reads", {"a": 1})]


def test_examples_of_the_manifest_come_first_and_the_whole_is_bounded() -> None:
    contract = Contract(tools=tuple(tool(f"t{number}", {}, {}, {}, {}) for number in range(100)))
    calls = calls_of(contract, [Example(tool="t7", arguments={"b": 1})])
    assert calls[0].arguments == {"b": 1}
    assert len(calls) == CALLS_MAX
    assert [each.tool["name"] for each in calls[1:5]] == ["t0", "t0", "t0", "t1"]


def test_an_example_of_a_tool_that_is_not_listed_fails_and_names_what_is() -> None:
    with pytest.raises(StageFailed, match=r"expected a tool that the server lists \(add\), got 'sum'"):
        calls_of(Contract(tools=(tool("add"),)), [Example(tool="sum")])


@pytest.mark.parametrize(
    ("expected", "got", "problem"),
    [
        ({"a": 1}, {"a": 1, "b": 2}, ""),
        ({"a": 1}, {"a": 1.0}, ""),
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 2, "d": 3}]}}, ""),
        ({"a": 1}, {}, "expected a to be 1, got none"),
        ({"a": True}, {"a": 1}, "expected a to be true, got 1"),
        ({"a": {"b": [1, {"c": 2}]}}, {"a": {"b": [1, {"c": 3}]}}, "expected a.b[1].c to be 2, got 3"),
        ({"a": [1]}, {"a": [1, 2]}, "expected a to be [1], got [1, 2]"),
    ],
)
def test_what_is_expected_is_a_part_of_what_is_given(expected: Any, got: Any, problem: str) -> None:
    assert difference_of(expected, got) == problem


SUM = {"type": "object", "properties": {"sum": {"type": "integer"}}, "required": ["sum"]}


@pytest.mark.parametrize(
    ("asked", "answer", "problem"),
    [
        (call(), result(), ""),
        (call({"text": "3"}), result(), ""),
        (call({"text": "4"}), result(), 'expected text to be "4", got "3"'),
        (call(), {"error": {"code": -32602, "message": "no"}}, "expected a result, got error"),
        (call(), result("broke", isError=True), 'expected no error, got "broke"'),
        (call({"isError": True}), result("broke", isError=True), ""),
        (call({"isError": True}), result(), "expected isError to be true, got false"),
        (call(outputSchema=SUM), result(), "expected structuredContent, since it has an outputSchema"),
        (call(outputSchema=SUM), result(structuredContent={"sum": 3}), ""),
        (call(outputSchema=SUM), result(structuredContent={"sum": "3"}), "(at sum)"),
        (call(outputSchema=SUM), result("broke", isError=True), "expected no error"),
    ],
)
def test_an_answer_is_right_or_its_problem_is_told(asked: Call, answer: dict[str, Any], problem: str) -> None:
    found = problem_of(asked, answer)
    assert problem in found
    assert bool(problem) is bool(found)


CALLS = """
import time

def called(arguments):
    if arguments.get("a") == "hang":
        time.sleep(60)
    return {"content": [{"type": "text", "text": str(arguments.get("a"))}]}
"""


async def test_a_server_that_answers_wrongly_or_never_is_not_built(node: Node) -> None:
    answering = (
        '    elif method == "tools/call":\n        answer = {"result": called(request["params"]["arguments"])}\n'
    )
    source = server(before=CALLS).replace("    else:", f"{answering}    else:")
    good = '[[examples]]\ntool = "add"\narguments = { a = 3 }\nexpect = { text = "3" }\n'
    node.change({"server.py": source, "service.toml": good})
    assert (await node.built()).metadata["examples"] == 1
    node.change({"service.toml": good.replace('"3"', '"4"')})
    broken = await node.broken()
    assert broken.stage == "mcp-check"
    assert 'example call add({"a": 3}) of service.toml: expected text to be "4", got "3"' in broken.reason
    node.change({"service.toml": '[[examples]]\ntool = "add"\narguments = { a = "hang" }\ntimeout_s = 0.2\n'})
    assert "expected an answer within 0.2 s, got none" in (await node.broken()).reason
