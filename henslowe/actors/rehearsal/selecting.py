"""Which captured calls are replayed: pure, from captures and what the two versions list.

Only calls that change nothing: tools that both versions mark with `readOnlyHint`, prompts, resources. A call whose
arguments were redacted or cut cannot be made again, and is counted. Equal calls are made once. Tools take turns, the
newest call of each first, so that a chatty one does not take all the room and a short time still covers all of them.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import orjson
from jsonschema_rs import Draft202012Validator, ReferencingError, ValidationError

from henslowe.actors.endpoints import Contract, JsonObject
from henslowe.actors.routes import Outcome
from henslowe.storage.capture import Capture

METHODS: Final = frozenset({"tools/call", "prompts/get", "resources/read"})
ANSWERED: Final = frozenset({Outcome.OK.value, Outcome.TOOL_ERROR.value})
"""Calls that were refused or lost say nothing about either version."""
CONTINUED: Final = ("requestState", "inputResponses", "task")
"""Parameters of calls that are part of something longer."""
MARKER: Final = "[redacted:"
REPLAY_META: Final = "henslowe/replay"


@dataclass(slots=True, frozen=True)
class Sample:
    """One call to be made again."""

    id: int
    """Number of the capture."""
    method: str
    name: str
    params: JsonObject
    usual_s: float
    """How long it took."""
    key: bytes = b""
    """Equal for equal calls."""

    @property
    def subject(self) -> str:
        """What it is counted under: the tool's name, else the method and what it is about."""
        return self.name if self.method == "tools/call" else f"{self.method} {self.name}"


@dataclass(slots=True)
class Skipped:
    """Captured calls that are not replayed, by reason."""

    redacted: int = 0
    """Their arguments were redacted, or cut."""
    writing: int = 0
    """Their tool is not read-only, in one of the versions at least."""
    gone: int = 0
    """The new version does not offer it any more."""
    refused: int = 0
    """The schema of the new version does not take their arguments: that is for the contract to tell."""
    stateful: int = 0
    """No fresh process could answer them before."""
    repeated: int = 0
    """The same was asked before."""
    over: int = 0
    """Beyond the limits of number and bytes."""


@dataclass(slots=True, frozen=True)
class Selection:
    """What is to be made, in this order, and what is not."""

    samples: tuple[Sample, ...] = ()
    skipped: Skipped = field(default_factory=Skipped)


def select(
    captures: Iterable[Capture],
    old: Contract,
    new: Contract,
    *,
    calls_max: int,
    bytes_max: int,
    stateful: frozenset[bytes] = frozenset(),
) -> Selection:
    """The calls to make.

    Args:
        captures: The newest first.
        old: What the active version lists.
        new: What the new one lists.
        calls_max: Most of them.
        bytes_max: Most bytes of their arguments and answers together.
        stateful: Keys of calls that no fresh process can answer.
    """
    skipped, seen = Skipped(), set[bytes]()
    lanes: dict[str, deque[tuple[Sample, int]]] = {}
    reads_old, reads_new = _reads(old), _reads(new)
    listed_old, listed_new, taken = _listed(old), _listed(new), _Schemas(new)
    for capture in captures:
        if capture.method not in METHODS or capture.outcome not in ANSWERED:
            continue
        params = _sendable(capture.params)
        if capture.method == "tools/call":
            if capture.name in listed_old and capture.name not in listed_new:
                skipped.gone += 1
                continue
            if not capture.read_only or capture.name not in reads_old or capture.name not in reads_new:
                skipped.writing += 1
                continue
        if params is None or capture.params_truncated or (capture.params_redactions and MARKER in str(params)):
            skipped.redacted += 1
            continue
        if any(name in params for name in CONTINUED):
            continue
        key = _digest(capture.method, params)
        if key in seen:
            skipped.repeated += 1
            continue
        seen.add(key)
        if key in stateful:
            skipped.stateful += 1
            continue
        if capture.method == "tools/call" and not taken.takes(capture.name, params.get("arguments")):
            skipped.refused += 1
            continue
        sample = Sample(capture.seq, capture.method, capture.name, params, capture.latency_ms / 1000, key)
        lane = lanes.setdefault(sample.subject if capture.method == "tools/call" else capture.method, deque())
        lane.append((sample, capture.params_bytes + capture.answer_bytes))
    return Selection(tuple(_in_turns(lanes, skipped, calls_max, bytes_max)), skipped)


def marked(params: JsonObject) -> JsonObject:
    """Parameters as they are sent, so that a server can tell."""
    return {**params, "_meta": {REPLAY_META: True}}


def _in_turns(
    lanes: Mapping[str, deque[tuple[Sample, int]]], skipped: Skipped, calls_max: int, bytes_left: int
) -> Iterable[Sample]:
    taken = 0
    waiting = [lane for lane in lanes.values() if lane]
    while waiting:
        for lane in waiting:
            sample, size = lane.popleft()
            if taken >= calls_max or size > bytes_left:
                skipped.over += 1
                continue
            taken, bytes_left = taken + 1, bytes_left - size
            yield sample
        waiting = [lane for lane in waiting if lane]


class _Schemas:
    """What arguments the tools of a contract take."""

    def __init__(self, contract: Contract) -> None:
        self._schemas = {str(tool.get("name")): tool.get("inputSchema") for tool in contract.tools}
        self._validators: dict[str, Draft202012Validator | None] = {}

    def takes(self, tool: str, arguments: Any) -> bool:
        """Whether the tool's schema takes these arguments; a schema that cannot be used takes anything."""
        if tool not in self._validators:
            try:
                self._validators[tool] = Draft202012Validator(self._schemas.get(tool) or {}, offline=True)
            except (ValueError, ValidationError, ReferencingError):
                self._validators[tool] = None
        validator = self._validators[tool]
        return validator is None or validator.is_valid({} if arguments is None else arguments)


def _sendable(params: Any) -> JsonObject | None:
    """Parameters without what belonged to that one request; None where there are none that can be sent."""
    return {name: value for name, value in params.items() if name != "_meta"} if isinstance(params, dict) else None


def _reads(contract: Contract) -> frozenset[str]:
    hints = ((tool.get("name"), tool.get("annotations")) for tool in contract.tools)
    return frozenset(str(name) for name, hint in hints if isinstance(hint, dict) and hint.get("readOnlyHint") is True)


def _listed(contract: Contract) -> frozenset[str]:
    return frozenset(str(tool.get("name")) for tool in contract.tools)


def _digest(method: str, params: JsonObject) -> bytes:
    return hashlib.blake2b(method.encode() + orjson.dumps(params, option=orjson.OPT_SORT_KEYS), digest_size=16).digest()
