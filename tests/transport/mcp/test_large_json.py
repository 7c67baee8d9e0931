"""Large texts: cut out, passed through and put back they are what a parser would have read."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from henslowe.transport.mcp import large_json
from henslowe.transport.mcp.large_json import LargeText, LongLine, StringScanner
from henslowe.transport.mcp.lines import LineCutter

SMALL = 24
"""Bytes from which on strings are cut in these tests."""
AWKWARD = ['"', "\\", "\\\\", '\\"', "\n", "\u00e9", "\u4e2d", "\U0001f600", "\ud7ff", "x" * 40, "\\u00e9", "]}", ","]

texts = (
    st.lists(st.one_of(st.sampled_from(AWKWARD), st.text(max_size=6)), max_size=12)
    .map("".join)
    .filter(lambda text: text.isascii() or not any("\ud800" <= c <= "\udfff" for c in text))
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-(2**53), 2**53), texts),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(texts, inner, max_size=3)),
    max_leaves=8,
)
items = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": texts}),
    st.fixed_dictionaries({"type": st.just("resource"), "resource": st.fixed_dictionaries({"blob": texts})}),
    values,
)
messages = st.one_of(
    values,
    st.fixed_dictionaries(
        {"id": st.integers(0, 9), "result": st.fixed_dictionaries({"content": st.lists(items, max_size=3)})}
    ),
)


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_json, "CUT_BYTES", SMALL)


def scanned(data: bytes, sizes: list[int]) -> LongLine:
    """A line that came in pieces of these sizes, over and over."""
    scanner, text, at = StringScanner(), bytearray(), 0
    while at < len(data):
        for size in sizes:
            text += data[at : at + size]
            scanner.feed(text, len(text))
            at += size
    scanner.feed(text, len(text), whole=True)
    return LongLine(memoryview(text), scanner.found)


def read(data: bytes, sizes: list[int]) -> Any:
    return large_json.decode(scanned(data, sizes))


def outcome(data: bytes) -> Any:
    try:
        return orjson.loads(data)
    except ValueError:
        return ValueError


def written(value: Any, *, escaped: bool) -> bytes:
    import json

    return json.dumps(value, ensure_ascii=escaped).encode()


sizes = st.lists(st.integers(1, 60), min_size=1, max_size=4)


@given(messages, st.booleans(), sizes)
@settings(max_examples=400)
def test_what_is_cut_and_put_back_is_what_a_parser_reads(value: Any, escaped: bool, sizes: list[int]) -> None:
    data = written(value, escaped=escaped)
    found = read(data, sizes)
    assert orjson.loads(large_json.dumps(found)) == value
    assert orjson.loads(b"".join(large_json.split(found))) == value
    if isinstance(found, dict):
        assert large_json.plain(found) == value


@given(messages, st.booleans(), sizes, st.data())
@settings(max_examples=600)
def test_what_a_parser_refuses_is_refused(value: Any, escaped: bool, sizes: list[int], draw: st.DataObject) -> None:
    data = bytearray(written(value, escaped=escaped))
    at = draw.draw(st.integers(0, len(data) - 1))
    junk = draw.draw(
        st.sampled_from([b"", b'"', b"\\", b"\x00", b"\x1f", b"\xff", b"\x80", b"\xed\xa0\x80", b"\\ud83d"])
    )
    data[at : at + draw.draw(st.integers(0, 2))] = junk
    expected = outcome(bytes(data))
    try:
        found = read(bytes(data), sizes)
    except ValueError:
        found = ValueError
    else:
        found = orjson.loads(large_json.dumps(found))
    assert found == expected


def test_a_large_text_of_a_result_is_passed_through_unread() -> None:
    value = {"id": 1, "result": {"content": [{"type": "text", "text": "a\n" + "x" * 100}], "isError": False}}
    found = read(orjson.dumps(value), [50])
    text = found["result"]["content"][0]["text"]
    assert isinstance(text, LargeText)
    assert bytes(text.raw) == b'"a\\n' + b"x" * 100 + b'"'
    assert text.read() == "a\n" + "x" * 100
    assert large_json.holds_large(found)
    assert any(isinstance(piece, memoryview) for piece in large_json.split(found))


@pytest.mark.parametrize("text", ["x" * 200, "\n" * 200, "\U0001f600" * 200, "a\u4e2d\\" * 100])
@pytest.mark.parametrize("escaped", [True, False])
def test_an_excerpt_is_the_beginning_and_says_how_long_all_is(
    text: str, escaped: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(large_json, "EXCERPT_BYTES", 70)
    raw = written(text, escaped=escaped)
    excerpt = LargeText(memoryview(raw)).excerpt()
    assert text.startswith(str(excerpt))
    assert len(str(excerpt)) >= 4
    assert len(excerpt) == len(raw) - 2


def test_for_a_record_only_the_large_texts_are_shortened() -> None:
    item = {"type": "resource", "resource": {"uri": "a:b", "blob": "x" * 100}}
    value = {"result": {"content": [item, {"type": "text", "text": "short"}, 7], "isError": True}}
    found = read(orjson.dumps(value), [50])
    assert large_json.excerpts(found) == value
    assert large_json.holds_large(found)
    assert large_json.excerpts(value) is value


@pytest.mark.parametrize(
    "value",
    [
        {"x" * 100: 1},
        {"result": {"structuredContent": {"text": "x" * 100}}},
        {"error": {"message": "x" * 100}},
        ["x" * 100],
    ],
)
def test_everywhere_else_it_is_a_string(value: Any) -> None:
    line = scanned(orjson.dumps(value), [50])
    assert line.large
    assert large_json.decode(line) == value


def test_of_a_name_that_comes_twice_the_last_one_counts() -> None:
    data = b'{"result":{"content":[{"text":"%b","text":"short"}]}}' % (b"x" * 100)
    assert read(data, [30]) == orjson.loads(data)


def test_nothing_but_texts_and_json_is_written() -> None:
    for write in (large_json.dumps, large_json.split):
        with pytest.raises(TypeError):
            write({"a": object()})


def test_a_long_line_is_looked_through_as_it_comes() -> None:
    cutter = LineCutter(10_000_000)
    data = orjson.dumps({"result": {"content": [{"text": "y" * 600_000}]}}) + b"\n"
    found = [line for at in range(0, len(data), 65_536) for line in cutter.feed(data[at : at + 65_536])]
    assert len(found) == 1
    assert isinstance(found[0], LongLine)
    assert len(found[0].large) == 1


def test_a_line_beyond_the_first_memory_for_it_is_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(large_json, "_ROOM_BYTES", 300_000)
    cutter = LineCutter(10_000_000)
    data = orjson.dumps({"result": {"content": [{"text": "".join(map(str, range(300_000)))}]}}) + b"\n"
    (line,) = (line for at in range(0, len(data), 65_536) for line in cutter.feed(data[at : at + 65_536]))
    assert isinstance(line, LongLine)
    assert line.data == data[:-1]
    assert large_json.plain(large_json.decode(line)) == orjson.loads(data)
