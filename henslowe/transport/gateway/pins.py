"""`requestState` goes back to the process that gave it out.

A stateless server that asks for input seals its progress into an opaque `requestState`, often under a key of its own
process, and the client brings it back with its answers. With several versions and instances behind one address, the
gateway wraps the state together with where it came from, and unwraps it on return. The wrapping is authenticated, so
that a client cannot choose a version by it, nor bring a state to another service, nor use somebody else's.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field
from typing import Final

import orjson

from henslowe.actors.endpoints import Endpoint, JsonObject
from henslowe.actors.ids import InstanceId, ServiceName, VersionKey

STATE_CHARS_MAX: Final = 1_000_000
"""Longest state looked at; requests are shorter than that by their own limit."""


@dataclass(slots=True, frozen=True)
class Pin:
    """Where a state came from."""

    version: VersionKey
    instance: InstanceId


@dataclass(slots=True, frozen=True)
class Pins:
    """Wraps and unwraps states. The key lives as long as the node, as the servers' own do."""

    key: bytes = field(default_factory=lambda: secrets.token_bytes(32))

    def wrap(self, answer: JsonObject, endpoint: Endpoint, principal: str) -> JsonObject:
        """The answer with its state wrapped for this principal, if it asks for input; every other one as it is.

        An answer without a state gets one too: the client's next call belongs to this process all the same.
        """
        result = answer.get("result")
        if not isinstance(result, dict) or result.get("resultType") != "input_required":
            return answer
        service, number = endpoint.version
        came = [number, endpoint.instance, result.get("requestState")]
        wrapped = orjson.dumps([*came, self._mac(service, principal, came)]).decode()
        return {"result": {**result, "requestState": wrapped}}

    def unwrap(self, service: ServiceName, params: JsonObject, principal: str) -> tuple[Pin, JsonObject] | None:
        """Where the request's state came from, and the parameters as the server gave them; None if it is not his."""
        state = params.get("requestState")
        if not isinstance(state, str) or len(state) > STATE_CHARS_MAX:
            return None
        try:
            number, instance, own, mac = orjson.loads(state)
        except (ValueError, TypeError):
            return None
        if not isinstance(mac, str) or not hmac.compare_digest(
            mac.encode(), self._mac(service, principal, [number, instance, own]).encode()
        ):
            return None
        restored = {key: value for key, value in params.items() if key != "requestState"}
        if own is not None:
            restored["requestState"] = own
        return Pin(VersionKey(service, number), InstanceId(instance)), restored

    def _mac(self, service: ServiceName, principal: str, came: list[object]) -> str:
        return hashlib.blake2b(orjson.dumps([service, principal, *came]), key=self.key, digest_size=16).hexdigest()
