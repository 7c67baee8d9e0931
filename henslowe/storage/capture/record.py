"""One recorded exchange: what is handed over, what is stored, and what a reader gets.

`Exchange` holds references to what the gateway has parsed anyway, so that handing one over costs nothing; `encode`
redacts and packs it elsewhere, later. `Capture` is what comes back from the disk: it never held a secret's value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from henslowe.errors import Corrupt
from henslowe.storage import codec
from henslowe.storage.capture.redaction import Redactor
from henslowe.storage.keys import KEY_BYTES_MAX
from henslowe.storage.partitions import RING, Ring, Rings

STREAM: Final = "exchanges"
RINGS: Final[Rings] = {STREAM: Ring(RING, ("service", "subject"))}
NODES_MAX: Final = 256
"""Values looked at to tell the size of a message; beyond it the size is that of what was seen, times what was not."""

_NAMED_BY: Final = {"tools/call": "name", "prompts/get": "name", "resources/read": "uri"}
_NAME_CHARS_MAX: Final = 255
_ERROR_CHARS_MAX: Final = 500
_SHARE_OF_PARAMS: Final = 0.5
"""Of the room of a record that parameters may take, so that an answer has some, too."""


class Exchange(NamedTuple):
    """A request and its answer, by reference: nothing in it may be changed after it was handed over.

    `answer` is `{"result": ...}` or `{"error": ...}`, None when none came; then `error` says why. `unit` is the unit of
    routing (session or stateless client), of which a digest is stored.
    """

    service: str
    version: int
    instance: str
    unit: str
    unit_is_session: bool
    era: str
    method: str
    params: Mapping[str, Any] | None
    answer: Mapping[str, Any] | None
    outcome: str
    latency_s: float
    read_only: bool
    request_id: Any = None
    error: str = ""


@dataclass(frozen=True, slots=True)
class Capture:
    """A recorded exchange.

    Attributes:
        seq: Its number in the record of this node: later ones are greater.
        hlc: Hybrid logical clock at the end of the exchange; orders captures of several nodes, and events with them.
        unit: Digest of the session or client: equal for equal ones, on this node.
        name: The tool, prompt or resource; "" where the method has none.
        params: Redacted, as `result` and `error` are.
        is_error: Whether it is an error for the client: a JSON-RPC error, a result with `isError`, or no answer.
        read_only: Whether the server says that the call changes nothing (`readOnlyHint`, or a method that only reads).
        params_bytes: About so many bytes were sent, `answer_bytes` received, before redaction and cutting.
        truncated: Whether something was cut off; `redactions` counts secrets taken out.
    """

    seq: int
    hlc: int
    time_ns: int
    service: str
    version: int
    instance: str
    unit: str
    unit_is_session: bool
    era: str
    method: str
    name: str
    request_id: Any
    outcome: str
    is_error: bool
    latency_ms: float
    read_only: bool
    params_bytes: int
    answer_bytes: int
    truncated: bool
    params_truncated: bool
    params_redactions: int
    redactions: int
    params: Any
    result: Any
    error: Any

    @property
    def repeatable(self) -> bool:
        """Whether the parameters are as they were sent."""
        return not self.params_redactions and not self.params_truncated


class Waiting(NamedTuple):
    """An exchange on its way to the disk, with its time and its size."""

    time_ns: int
    hlc: int
    params_bytes: int
    answer_bytes: int
    exchange: Exchange


class EncodedCapture(NamedTuple):
    """What the appender takes."""

    stream: str
    words: tuple[bytes, bytes]
    time_ns: int
    body: bytes


def name_of(method: str, params: Mapping[str, Any] | None) -> str:
    """The tool, prompt or resource that a request is about, "" for none."""
    name = (params or {}).get(_NAMED_BY.get(method, ""))
    return name if isinstance(name, str) else ""


def subject(service: str, method: str, name: str) -> bytes:
    """The word of the index that finds what a service was asked by method and name."""
    return f"{service}\0{method}\0{name}".encode(errors="surrogatepass")[: KEY_BYTES_MAX - 1]


def about_bytes(value: Any) -> int:
    """About how long `value` is as JSON; looks at 256 values at most, so that a great one costs no more to measure."""
    total = seen = 0
    rest = [value]
    while rest and seen < NODES_MAX:
        each = rest.pop()
        seen += 1
        if isinstance(each, str):
            total += len(each) + 3
        elif isinstance(each, Mapping):
            total += 2
            for key in each:
                total += len(key) + 4 if isinstance(key, str) else 8
            rest.extend(each.values())
        elif isinstance(each, list | tuple):
            total += 2
            rest.extend(each)
        else:
            total += 6
    return total + len(rest) * (total // seen + 1)


def encode(waiting: Waiting, redactor: Redactor, *, bytes_max: int, salt: bytes) -> EncodedCapture:
    """What is stored of an exchange: redacted, at most about `bytes_max`, the unit as a digest with `salt`."""
    exchange = waiting.exchange
    answer = exchange.answer or {}
    params_max = int(bytes_max * _SHARE_OF_PARAMS)
    params = redactor.redact(exchange.params, bytes_max=params_max)
    answer_max = bytes_max - min(params_max, waiting.params_bytes)
    result = redactor.redact(answer.get("result"), bytes_max=answer_max)
    failed = answer.get("error") if exchange.answer is not None else exchange.error[:_ERROR_CHARS_MAX] or "no answer"
    error = redactor.redact(failed, bytes_max=answer_max)
    name = redactor.redact_text(name_of(exchange.method, exchange.params)[:_NAME_CHARS_MAX])
    unit = hashlib.blake2b(exchange.unit.encode(errors="surrogatepass"), key=salt, digest_size=12).hexdigest()
    is_error = failed is not None or (isinstance(result.value, dict) and result.value.get("isError") is True)
    request_id = exchange.request_id
    head = (
        waiting.hlc,
        waiting.time_ns,
        exchange.service,
        exchange.version,
        exchange.instance,
        unit,
        exchange.unit_is_session,
        exchange.era,
        exchange.method,
        name,
        request_id if isinstance(request_id, int) else redactor.redact_text(str(request_id or "")[:80]),
        exchange.outcome,
        is_error,
        round(exchange.latency_s * 1e3, 3),
        exchange.read_only,
        waiting.params_bytes,
        waiting.answer_bytes,
        params.truncated or result.truncated or error.truncated,
        params.truncated,
        params.redactions,
        params.redactions + result.redactions + error.redactions,
    )
    bodies = tuple(codec.encode(each.value) for each in (params, result, error))
    words = (exchange.service.encode(), subject(exchange.service, exchange.method, name))
    return EncodedCapture(STREAM, words, waiting.time_ns, codec.encode((*head, *bodies)))


class Head(NamedTuple):
    """A stored capture whose parameters and answer are not decoded yet: what a reader selects by."""

    seq: int
    hlc: int
    time_ns: int
    service: str
    version: int
    method: str
    name: str
    is_error: bool
    fields: tuple[Any, ...]

    def open(self) -> Capture:
        """The whole capture."""
        head, bodies = self.fields[:-_BODIES], self.fields[-_BODIES:]
        return Capture(self.seq, *head, *map(codec.decode, bodies))


def decode(seq: int, body: bytes) -> Head:
    """What a record's body says, its parameters and answer still packed.

    Raises:
        Corrupt: It is no capture.
    """
    fields = codec.decode(body)
    if not isinstance(fields, list) or len(fields) != _FIELDS:
        raise Corrupt(f"cannot decode capture {seq}: it has not the {_FIELDS} fields of one")
    hlc, time_ns, service, version = fields[:4]
    return Head(seq, hlc, time_ns, service, version, fields[8], fields[9], fields[12], tuple(fields))


_BODIES: Final = 3
_FIELDS: Final = len(Capture.__slots__) - 1
"""All but the number, which is the key."""
