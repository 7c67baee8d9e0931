"""JSON-RPC messages of both eras, changed in their JSON and their bytes. Not here: how they are sent (`requests`)."""

from __future__ import annotations

import copy
import json
import random
from collections.abc import Callable
from typing import Any

from bench.gateway import INITIALIZE

MODERN = "2026-07-28"
META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "fuzz", "version": "1"},
    "io.modelcontextprotocol/logLevel": "debug",
    "progressToken": 1,
}
_OPENING: dict[str, Any] = json.loads(json.dumps(INITIALIZE["params"]))
REQUESTS: list[tuple[str, dict[str, Any]]] = [
    ("initialize", _OPENING),
    ("ping", {}),
    ("tools/list", {"cursor": "x"}),
    ("tools/list", {}),
    ("tools/call", {"name": "test_simple_text", "arguments": {"a": 1, "b": "two"}}),
    ("tools/call", {"name": "fixture__test_simple_text", "arguments": {}}),
    ("prompts/list", {}),
    ("prompts/get", {"name": "test_simple_prompt", "arguments": {}}),
    ("resources/list", {}),
    ("resources/templates/list", {}),
    ("resources/read", {"uri": "test://static-text"}),
    ("resources/subscribe", {"uri": "test://static-text"}),
    ("resources/unsubscribe", {"uri": "test://static-text"}),
    ("logging/setLevel", {"level": "info"}),
    ("completion/complete", {"ref": {"type": "ref/prompt", "name": "p"}, "argument": {"name": "a", "value": "b"}}),
    ("server/discover", {}),
    ("subscriptions/listen", {"notifications": {"toolsListChanged": True, "resourceSubscriptions": ["a://b"]}}),
    ("tasks/get", {"taskId": "none"}),
    ("tasks/cancel", {"taskId": "none"}),
    ("notifications/initialized", {}),
    ("notifications/cancelled", {"requestId": 1, "reason": "x"}),
    ("notifications/progress", {"progressToken": 1, "progress": 0.5}),
    ("notifications/roots/list_changed", {}),
]
HOSTILE: list[Any] = [
    *(None, True, False, 0, -1, 1.5, 2**53, 2**64, -(2**63), 1e308, "", "x", "\x00", "\ud7ff", "é" * 50, "../../etc"),
    *([], [[]], [None], {}, {"": {}}, {"_meta": None}, "a" * 9_000, ["x"] * 200, MODERN, "2025-11-25", "2099-01-01"),
    *("__proto__", "fixture__", "__", "notifications/", "tools/call", "%s%n", "{0}", "\u202e", "henslowe:state:1"),
]
SPLINTERS = [
    *(b"\x00", b"{", b"]", b'"', b"\\u0000", b"\\ud800", b"[" * 500, b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80"),
]
"""Among them UTF-8 that is none: overlong, a surrogate, beyond the last character."""
TWICE = [b"jsonrpc", b"id", b"method", b"params", b"name", b"arguments", b"_meta", b"uri", b"taskId", b"x"]
BEYOND = [b"9" * 400, b"-" + b"9" * 400, b"1e999", b"18446744073709551616", b"0." + b"3" * 400, b"NaN", b"null", b'"x"']
BEYOND += [b"[" * levels + b"]" * levels for levels in (100, 130, 1_100, 20_000)]


class Bodies:
    """An endless source of messages and of their bytes; whoever gives it a seeded generator gets the same ones."""

    def __init__(self, generator: random.Random) -> None:
        self._random = generator
        self._mutators: list[Callable[[Any], Any]] = [self._drop, self._replace, self._add, self._wrap]

    def message(self, modern: bool) -> dict[str, Any]:
        """A valid request or notification, which may be changed."""
        method, params = self._random.choice(REQUESTS)
        message: dict[str, Any] = {"jsonrpc": "2.0", "method": method, "params": copy.deepcopy(params)}
        if not method.startswith("notifications/"):
            message["id"] = self._random.choice((1, 2, "a", 10**9))
        if modern:
            message["params"]["_meta"] = copy.deepcopy(META)
        return message

    def mutated(self, message: Any) -> Any:
        """The message after as many changes as chance has it, itself among them: none, one, two or three."""
        for _ in range(self._random.choice((0, 1, 1, 1, 2, 3))):
            message = self._random.choice(self._mutators)(message)
        return message

    def encoded(self, message: Any) -> bytes:
        """The bytes of a message, now and then of a batch of them, now and then with some of them changed."""
        roll = self._random
        if roll.random() < 0.03:
            message = [message] * roll.choice((0, 1, 3))
        body = bytearray(json.dumps(message, ensure_ascii=roll.random() < 0.5).encode("utf-8", "surrogatepass"))
        if roll.random() < 0.15 and body:
            for _ in range(roll.choice((1, 1, 2, 8))):
                at = roll.randrange(len(body))
                kind = roll.random()
                if kind < 0.3:
                    body[at] = roll.randrange(256)
                elif kind < 0.5:
                    body[at:at] = roll.choice(SPLINTERS)
                elif kind < 0.6:
                    self._member(body)
                elif kind < 0.8:
                    del body[at : at + roll.randrange(1, 20)]
                else:
                    del body[at:]
                if not body:
                    break
        return bytes(body)

    def _member(self, body: bytearray) -> None:
        """Put a member before the first one of some object: a name twice, a number beyond all, arrays without end."""
        if (at := body.find(b"{", self._random.randrange(len(body)))) >= 0 and body[at + 1 : at + 2] == b'"':
            body[at + 1 : at + 1] = b'"%b":%b,' % (self._random.choice(TWICE), self._random.choice(BEYOND))

    def _place(self, message: Any) -> Any:
        """A container somewhere in the message."""
        place = message
        while isinstance(place, dict | list) and place and self._random.random() < 0.6:
            inner = [each for each in (place.values() if isinstance(place, dict) else place) if isinstance(each, dict)]
            if not inner:
                break
            place = self._random.choice(inner)
        return place

    def _key(self, place: Any) -> Any:
        return self._random.choice(list(place)) if isinstance(place, dict) and place else None

    def _hostile(self) -> Any:
        value = self._random.choice(HOSTILE)
        return copy.deepcopy(value) if isinstance(value, dict | list) else value  # it may be changed in its turn

    def _drop(self, message: Any) -> Any:
        place = self._place(message)
        if (key := self._key(place)) is not None:
            del place[key]
        return message

    def _replace(self, message: Any) -> Any:
        place = self._place(message)
        if (key := self._key(place)) is not None:
            place[key] = self._hostile()
        return message

    def _add(self, message: Any) -> Any:
        place = self._place(message)
        if isinstance(place, dict):
            names = ("id", "result", "error", "requestState", "inputResponses", "task", "x")
            place[self._random.choice(names)] = self._hostile()
        return message

    def _wrap(self, message: Any) -> Any:
        place = self._place(message)
        if (key := self._key(place)) is not None:
            for _ in range(self._random.choice((1, 3, 200))):
                place[key] = [place[key]]
        return message
