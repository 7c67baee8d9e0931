"""Which captured calls are replayed, and how the result reads."""

from __future__ import annotations

from typing import Any

from henslowe.actors.endpoints import Contract
from henslowe.actors.messages import Resemblance
from henslowe.actors.pairing import Asked, Ledger, answer_of, lost
from henslowe.actors.rehearsal.report import figures, resemblance, words
from henslowe.actors.rehearsal.selecting import Selection, Skipped, marked, select
from henslowe.actors.routes import Outcome
from henslowe.storage.capture import Capture

READS = {"readOnlyHint": True}


def offers(**annotations: Any) -> Contract:
    return Contract(tools=tuple({"name": name, "annotations": hints} for name, hints in annotations.items()))


BOTH = offers(look=READS, find=READS, write={})


def capture(seq: int, name: str = "look", arguments: Any = None, **more: Any) -> Capture:
    fields: dict[str, Any] = {
        "hlc": seq, "time_ns": seq, "service": "hello", "version": 1, "instance": "i", "unit": "u",
        "unit_is_session": True, "era": "legacy", "method": "tools/call", "request_id": 1, "outcome": "ok",
        "is_error": False, "latency_ms": 5.0, "read_only": True, "params_bytes": 10, "answer_bytes": 10,
        "truncated": False, "params_truncated": False, "params_redactions": 0, "redactions": 0, "result": {},
        "error": None, "params": {"name": name, "arguments": {"n": seq} if arguments is None else arguments},
    }  # fmt: skip
    return Capture(seq=seq, name=name, **{**fields, **more})


def selected(*captures: Capture, new: Contract = BOTH, calls_max: int = 200, bytes_max: int = 10_000) -> Selection:
    return select(captures, BOTH, new, calls_max=calls_max, bytes_max=bytes_max)


def ids(selection: Selection) -> list[int]:
    return [sample.id for sample in selection.samples]


def test_only_tools_that_both_versions_call_read_only_are_called() -> None:
    found = selected(
        capture(5),
        capture(4, "write"),
        capture(3, "find"),
        capture(2, read_only=False),
        new=offers(look=READS, find={"readOnlyHint": False}, write=READS),
    )
    assert ids(found) == [5]
    assert found.skipped.writing == 3


def test_a_tool_that_is_gone_is_no_failure_of_the_version() -> None:
    found = selected(capture(2), capture(1, "find"), new=offers(look=READS))
    assert (ids(found), found.skipped.gone) == ([2], 1)


def test_arguments_that_the_new_schema_refuses_are_the_contract_s_business() -> None:
    renamed = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}
    unusable = {"$ref": "https://example.org/elsewhere"}
    new = Contract(
        tools=(
            {"name": "look", "annotations": READS, "inputSchema": renamed},
            {"name": "find", "annotations": READS, "inputSchema": unusable},
        )
    )
    found = selected(capture(3), capture(2, "find"), capture(1, arguments={"city": "Bern"}), new=new)
    assert (ids(found), found.skipped.refused) == ([2, 1], 1)


def test_prompts_and_resources_are_read_and_other_methods_are_not() -> None:
    found = selected(
        capture(3, "p", method="prompts/get"),
        capture(2, "file:///x", method="resources/read", params={"uri": "file:///x"}),
        capture(1, "", method="completion/complete"),
    )
    assert [sample.subject for sample in found.samples] == ["prompts/get p", "resources/read file:///x"]


def test_a_call_whose_arguments_were_redacted_or_cut_cannot_be_made_again() -> None:
    found = selected(
        capture(3, arguments={"key": "[redacted:api_key:len=9]"}, params_redactions=1),
        capture(2, params_truncated=True),
        capture(1),
    )
    assert (ids(found), found.skipped.redacted) == ([1], 2)


def test_a_secret_outside_of_the_arguments_is_not_sent_and_keeps_nothing_from_being_so() -> None:
    params = {"name": "look", "arguments": {"n": 1}, "_meta": {"traceparent": "[redacted:entropy:len=55]"}}
    found = selected(capture(1, params=params, params_redactions=1))
    assert found.samples[0].params == {"name": "look", "arguments": {"n": 1}}
    assert marked(found.samples[0].params)["_meta"] == {"henslowe/replay": True}


def test_equal_calls_are_made_once() -> None:
    found = selected(capture(3, arguments={"a": 1, "b": 2}), capture(2, arguments={"b": 2, "a": 1}), capture(1))
    assert (ids(found), found.skipped.repeated) == ([3, 1], 1)


def test_calls_that_were_lost_or_refused_or_part_of_a_dialogue_are_left_out() -> None:
    found = selected(
        capture(4, outcome="timeout"),
        capture(3, outcome="invalid_params"),
        capture(2, params={"name": "look", "requestState": "x"}),
        capture(1, outcome="tool_error"),
    )
    assert ids(found) == [1]


def test_tools_take_turns_the_newest_call_of_each_first() -> None:
    chatty = [capture(seq) for seq in range(100, 0, -1)]
    found = selected(*chatty, capture(200, "find"), calls_max=4)
    assert ids(found) == [100, 200, 99, 98]
    assert found.skipped.over == 97


def test_the_bytes_of_all_calls_together_are_bounded() -> None:
    found = selected(capture(3, answer_bytes=90), capture(2, answer_bytes=9_000), capture(1), bytes_max=200)
    assert (ids(found), found.skipped.over) == ([3, 1], 1)


# -- the report ----------------

GOOD, OTHER = answer_of({"result": {"content": []}}), answer_of({"result": {"content": [1]}})
BAD = lost(Outcome.INTERNAL_ERROR, "boom")


def book(*calls: Any) -> Ledger:
    found = Ledger(lambda value: value)
    for new, *others in calls:
        found.add(Asked("look", new, others))
    return found


def test_a_failure_counts_only_beside_a_fresh_copy_that_has_none() -> None:
    first = book((BAD, GOOD, GOOD))
    certain, shared = book(*[(BAD, GOOD)] * 9), book(*[(BAD, BAD)] * 9)
    assert resemblance(first, certain, needed=100.0) is Resemblance.FAILS
    assert resemblance(first, shared, needed=100.0) is Resemblance.ALIKE
    assert resemblance(first, book(*[(BAD, GOOD)] * 2), needed=100.0) is Resemblance.DIFFERS
    assert resemblance(first, None, needed=100.0) is Resemblance.DIFFERS


def test_no_calls_are_no_evidence_and_equal_answers_are_alike() -> None:
    assert resemblance(book(), None, needed=100.0) is Resemblance.UNKNOWN
    assert resemblance(book((GOOD, GOOD, GOOD)), None, needed=100.0) is Resemblance.ALIKE
    assert resemblance(book((OTHER, GOOD, GOOD)), None, needed=100.0) is Resemblance.DIFFERS
    assert resemblance(book((OTHER, GOOD, OTHER)), None, needed=100.0) is Resemblance.ALIKE


def test_the_result_reads_as_a_sentence() -> None:
    first, doubts = book((BAD, GOOD, GOOD), (GOOD, GOOD, GOOD), (OTHER, GOOD, GOOD)), book(*[(BAD, GOOD)] * 9)
    text = words(first, doubts, Skipped(redacted=2, gone=1), Resemblance.FAILS, against=3)
    assert text.startswith(
        "3 calls replayed beside v3: 1 alike, 1 fails on this version only, 1 differs (look: content[])"
    )
    assert "asked again beside a fresh copy of v3, 9 of 9 failed on this version only" in text
    assert text.endswith("look: internal_error: boom; left out: 2 with secrets, 1 of tools that are gone")


def test_failures_for_want_of_a_state_are_explained() -> None:
    text = words(book((BAD, GOOD, GOOD)), book((BAD, BAD)), Skipped(), Resemblance.ALIKE, against=3)
    assert text.endswith("a fresh copy of v3 fails them too: they need what the running one remembers")


def test_the_numbers_are_small_and_plain() -> None:
    report = figures(book((OTHER, GOOD, GOOD)), None, Skipped(writing=4), needed=100.0, took_s=0.0314)
    assert report["paths"] == [{"tool": "look", "path": "content[]", "calls": 1}]
    assert (report["calls"], report["took_ms"], report["skipped"]["writing"]) == (1, 31, 4)
