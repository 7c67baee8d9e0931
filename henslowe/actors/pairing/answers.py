"""Answers made comparable: how each ended, what of it a client's program reads, and where two of them differ. Pure.

What depends on the era, the node or the moment is left out (`_meta`, cache times, `resultType`). Where a result has
`structuredContent`, its text repeats it and is not compared; text that is JSON is compared as what it says.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final, NamedTuple

import orjson

from henslowe.actors.endpoints import JsonObject
from henslowe.actors.routes import FAILURES, Outcome
from henslowe.words import counted

CALLER_FAULTS: Final = frozenset({-32700, -32600, -32601, -32602, -32002, -32020, -32021, -32022, -32042})
"""Codes that say something about the request, not about the version that answered."""
PASSING: Final = frozenset({"_meta", "resultType", "ttlMs", "cacheScope"})
"""Fields of a result that say nothing about what was found."""
NODES_MAX: Final = 20_000
"""Values looked at for one comparison; what lies beyond counts as equal."""
DEPTH_MAX: Final = 32
PATHS_MAX: Final = 20
"""Places told of one pair of answers."""
TEXT_JSON_MAX: Final = 256 * 1024


class Answer(NamedTuple):
    """How one call ended."""

    outcome: Outcome
    body: Any
    """What is compared; for a failure its words."""

    @property
    def failed(self) -> bool:
        """Whether it counts against the version that gave it."""
        return self.outcome in FAILURES

    @property
    def broke(self) -> bool:
        """Whether the server failed it, and not a tool by its own word: that may be for want of a state."""
        return self.failed and self.outcome is not Outcome.TOOL_ERROR


class Difference(NamedTuple):
    """One place where two answers differ. List indices are left out of the path: `items[].price`."""

    path: str
    one: Any
    other: Any


def answer_of(answer: JsonObject) -> Answer:
    """The answer of an endpoint, `{"result": ...}` or `{"error": ...}`."""
    error = answer.get("error")
    if error is not None:
        code = error.get("code") if isinstance(error, dict) else None
        text = str(error.get("message", "")) if isinstance(error, dict) else str(error)
        return Answer(Outcome.INVALID_PARAMS if code in CALLER_FAULTS else Outcome.INTERNAL_ERROR, text)
    result = answer.get("result")
    if not isinstance(result, dict):
        return Answer(Outcome.OK, result)
    if result.get("isError") is True:
        return Answer(Outcome.TOOL_ERROR, _words(result))
    return Answer(Outcome.OK, _compared(result))


def lost(outcome: Outcome, why: str) -> Answer:
    """A call that got no answer."""
    return Answer(outcome, why)


def paths_apart(one: Answer, other: Answer) -> list[Difference]:
    """Where two answers differ, at most `PATHS_MAX` places; of calls that failed, only whether they did."""
    if one.outcome is not other.outcome:
        return [Difference("(outcome)", _ended(one), _ended(other))]
    if one.outcome is not Outcome.OK:
        return []
    found: dict[str, Difference] = {}
    for difference in _walk(one.body, other.body):
        found.setdefault(difference.path, difference)
        if len(found) >= PATHS_MAX:
            break
    return list(found.values())


def _ended(answer: Answer) -> Any:
    return answer.outcome.value if not answer.failed else f"{answer.outcome.value}: {answer.body}"


def _words(result: JsonObject) -> str:
    texts = (item.get("text") for item in result.get("content") or () if isinstance(item, dict))
    return " ".join(text for text in texts if isinstance(text, str))


def _compared(result: JsonObject) -> JsonObject:
    kept = {name: value for name, value in result.items() if name not in PASSING}
    if kept.get("structuredContent") is not None:
        kept.pop("content", None)
    for name in ("content", "contents"):
        items = kept.get(name)
        if isinstance(items, list):
            kept[name] = [_item(item) for item in items]
    return kept


def _item(item: Any) -> Any:
    if not isinstance(item, dict):
        return item
    text = item.get("text")
    if isinstance(text, str) and text[:1] in ("{", "[") and len(text) <= TEXT_JSON_MAX:
        try:
            item = {**item, "text": orjson.loads(text)}
        except orjson.JSONDecodeError:
            return item
    return item


def _walk(one: Any, other: Any) -> Iterator[Difference]:
    """Depth first, by keys in order; a stack of its own, so that a deep answer is no danger."""
    rest: list[tuple[str, Any, Any, int]] = [("", one, other, 0)]
    seen = 0
    while rest and seen < NODES_MAX:
        path, a, b, depth = rest.pop()
        seen += 1
        if isinstance(a, dict) and isinstance(b, dict) and depth < DEPTH_MAX:
            for key in sorted({*a, *b}, key=str, reverse=True):
                here = f"{path}.{key}" if path else str(key)
                if key in a and key in b:
                    rest.append((here, a[key], b[key], depth + 1))
                else:
                    yield Difference(here, a.get(key), b.get(key))
        elif isinstance(a, list) and isinstance(b, list) and depth < DEPTH_MAX:
            if len(a) != len(b):
                yield Difference(f"{path}[]", counted(len(a), "item"), counted(len(b), "item"))
            rest.extend((f"{path}[]", x, y, depth + 1) for x, y in reversed(list(zip(a, b, strict=False))))
        elif a != b or isinstance(a, bool) is not isinstance(b, bool):
            yield Difference(path or "(all)", a, b)
