"""Answers made comparable, and what a ledger keeps of them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from henslowe.actors.pairing import Answer, Asked, Ledger, answer_of, lost, paths_apart
from henslowe.actors.pairing.answers import PATHS_MAX
from henslowe.actors.routes import Outcome

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=4),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=12,
)


def says(**structured: Any) -> Answer:
    return answer_of({"result": {"structuredContent": structured, "content": [{"type": "text", "text": "x"}]}})


def paths(one: Answer, other: Answer) -> list[str]:
    return [difference.path for difference in paths_apart(one, other)]


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"result": {"content": []}}, Outcome.OK),
        ({"result": {"content": [{"type": "text", "text": "no"}], "isError": True}}, Outcome.TOOL_ERROR),
        ({"error": {"code": -32603, "message": "boom"}}, Outcome.INTERNAL_ERROR),
        ({"error": {"code": -32602, "message": "what?"}}, Outcome.INVALID_PARAMS),
    ],
)
def test_an_answer_ended_as_a_client_sees_it(answer: dict[str, Any], outcome: Outcome) -> None:
    assert answer_of(answer).outcome is outcome


def test_what_belongs_to_the_moment_is_not_compared() -> None:
    one = answer_of(
        {"result": {"structuredContent": {"a": 1}, "_meta": {"t": 1}, "ttlMs": 5, "resultType": "complete"}}
    )
    assert paths(one, answer_of({"result": {"structuredContent": {"a": 1}}})) == []


def test_text_that_is_json_is_compared_as_what_it_says() -> None:
    one = answer_of({"result": {"content": [{"type": "text", "text": '{"a": 1, "b": [1]}'}]}})
    other = answer_of({"result": {"content": [{"type": "text", "text": '{"b":[2],"a":1}'}]}})
    assert paths(one, other) == ["content[].text.b[]"]


def test_text_that_repeats_the_structured_content_is_not_compared_twice() -> None:
    other = answer_of({"result": {"structuredContent": {"a": 1}, "content": [{"type": "text", "text": "y"}]}})
    assert paths(says(a=1), other) == []


def test_differences_are_told_by_place_without_the_indices_of_lists() -> None:
    one = says(items=[{"price": 1, "name": "a"}, {"price": 2, "name": "b"}], gone=1)
    other = says(items=[{"price": 3, "name": "a"}, {"price": 4, "name": "b"}], fresh=1)
    assert sorted(paths(one, other)) == [
        "structuredContent.fresh",
        "structuredContent.gone",
        "structuredContent.items[].price",
    ]
    assert paths(says(items=[1, 2]), says(items=[1])) == ["structuredContent.items[]"]


def test_a_number_and_a_truth_value_are_not_the_same() -> None:
    assert paths(says(a=1), says(a=True)) == ["structuredContent.a"]


@given(JSON, JSON)
def test_equal_answers_have_no_differences_and_others_have_a_few(one: Any, other: Any) -> None:
    assert paths(says(it=one), says(it=one)) == []
    assert len(paths(says(it=one), says(it=other))) <= PATHS_MAX


def test_a_deep_answer_is_no_danger() -> None:
    deep: Any = 1
    for _ in range(100_000):
        deep = [deep]
    assert paths(says(it=deep), says(it=deep)) == []


# -- the ledger ----------------


def ledger() -> Ledger:
    return Ledger(lambda value: "***" if value == "secret" else value)


def asked(new: Answer, *others: Answer, tool: str = "look") -> Asked:
    return Asked(tool, new, others, id=7)


def test_what_two_copies_of_one_version_disagree_on_is_noise() -> None:
    book = ledger()
    for at in range(5):
        book.add(asked(says(at=at, total=2), says(at=at + 100, total=1), says(at=at + 200, total=1)))
    assert book.different_paths == {("look", "structuredContent.total"): 5}
    assert book.differing == 5


def test_what_is_inside_something_noisy_is_noise_too() -> None:
    book = ledger()
    book.add(asked(says(log={"a": 1}), says(log={"b": 1}), says(log={"c": 1})))
    assert book.alike == 0 or not book.different_paths


def test_a_failure_of_the_new_version_alone_is_counted_and_shown_first() -> None:
    book = ledger()
    book.add(asked(says(a=2), says(a=1), says(a=1)))
    book.add(asked(lost(Outcome.CRASH, "it ended"), says(a=1), says(a=1)))
    assert (book.failed_new, book.failed_old, book.failed_both, book.differing) == (1, 0, 0, 1)
    assert book.examples[0] == {
        "tool": "look",
        "path": "(outcome)",
        "old": "ok",
        "new": "crash: it ended",
        "capture": 7,
    }


def test_failures_of_the_others_are_told_apart() -> None:
    book, bad = ledger(), lost(Outcome.TIMEOUT, "late")
    book.add(asked(bad, bad, says(a=1)))
    book.add(asked(says(a=1), bad, says(a=1)))
    assert (book.failed_new, book.failed_old, book.failed_both) == (0, 1, 1)


def test_arguments_that_only_the_new_version_refuses_are_no_failure() -> None:
    book = ledger()
    book.add(asked(answer_of({"error": {"code": -32602, "message": "missing b"}}), says(a=1), says(a=1)))
    assert (book.refused_new, book.failed_new, book.evidence.discordant) == (1, 0, 0)


def test_examples_are_few_and_without_secrets() -> None:
    book = ledger()
    for at in range(20):
        book.add(asked(says(a="secret"), says(a="x" * 500), tool=f"t{at}"))
    assert len(book.examples) == 5
    assert book.examples[0]["new"] == "***"
    assert len(book.examples[0]["old"]) <= 120
