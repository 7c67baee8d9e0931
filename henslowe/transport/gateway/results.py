"""Results that are answered again without asking the server, for as long as it says that they are good.

Kept are what a server marks with `ttlMs`: resources that were read, and results of tools that it calls read-only; and
for tools whose servers do not say, what the settings name. `cacheScope: public` is for everybody, all else for the
same principal (else the same client) alone. A result belongs to its version: another version is asked anew, and what a
server announces as updated is forgotten. Bounded in bytes, durable, and asked for by nobody who may not make the call.

Source: MCP 2026-07-28, basic/utilities/caching.
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final, Protocol

import orjson

from henslowe.actors.endpoints import Contract, Endpoint, Era, JsonObject
from henslowe.actors.ids import ServiceName
from henslowe.actors.results.rows import ResultRow
from henslowe.transport.gateway import evidence
from henslowe.transport.gateway.dialogue import Ask
from henslowe.transport.gateway.selection import Selection, Target
from henslowe.transport.gateway.tasks import Tasks
from henslowe.transport.mcp import large_json

FLUSH_S: Final = 0.25
RESULT_BYTES_MAX: Final = 1024 * 1024
RESULTS_MAX: Final = 20_000
TTL_MS_MAX: Final = 7 * 24 * 3600 * 1000
_NAMED: Final = {"tools/call": "name", "resources/read": "uri"}


class ResultLimits(Protocol):
    """What is read of the settings."""

    @property
    def cache(self) -> bool:
        """Whether anything is kept."""
        ...

    @property
    def cache_tools(self) -> Mapping[str, int]:
        """Milliseconds by `service/tool`."""
        ...

    @property
    def cache_bytes_max(self) -> int:
        """Most bytes."""
        ...


class ResultStore(Protocol):
    """Where results outlive the node."""

    def rows(self) -> Iterable[ResultRow]:
        """What the last life of the node left."""
        ...

    def change(self, added: list[JsonObject], dropped: list[str]) -> None:
        """Keep rows and forget keys; nobody waits for it."""
        ...


class NoResultStore:
    """Where nothing outlives the process."""

    def rows(self) -> Iterable[ResultRow]:
        """Nothing."""
        return ()

    def change(self, added: list[JsonObject], dropped: list[str]) -> None:
        """Nothing to do."""


class Results:
    """Makes calls, or answers them from what is kept. Runs in: the node's loop.

    Args:
        tasks: Makes the calls.
        selection: Says which version a call would go to.
        store: Where results outlive the node.
        limits: What is kept.
        clock: Unix seconds.
    """

    def __init__(
        self,
        tasks: Tasks,
        selection: Selection,
        store: ResultStore,
        limits: ResultLimits,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._tasks = tasks
        self._selection = selection
        self._store = store
        self._limits = limits
        self._clock = clock
        self._rows: OrderedDict[str, ResultRow] = OrderedDict()
        self._size = 0
        self._added: dict[str, ResultRow] = {}
        self._dropped: set[str] = set()
        self._flushing: asyncio.TimerHandle | None = None
        self.hits = 0

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def size(self) -> int:
        """Bytes of the answers."""
        return self._size

    def recover(self) -> None:
        """Take up what the last life of the node left."""
        now_s = self._clock()
        for row in self._store.rows():
            if row.expires_s > now_s:
                self._hold(row)
            else:
                self._forget_later(row.key)

    def close(self) -> None:
        """Write what is to be written. Idempotent."""
        if self._flushing is not None:
            self._flushing.cancel()
        self._flush()

    async def call(self, target: Target, ask: Ask) -> JsonObject:
        """The answer to a request. Raises what `Tasks.call` raises."""
        name = self._name(ask) if self._limits.cache else None
        if name is not None and ask.begun is None and (found := self._found(target, ask)) is not None:
            return found
        answer, endpoint = await self._tasks.call(target, ask)
        # Kept for who answered: that may be another version than the one which was to be called.
        if name is not None and endpoint is not None and evidence.reads_only(ask.method, ask.params, endpoint.contract):
            self._keep(endpoint, ask, name, answer)
        return answer

    def kept_as(self, ask: Ask, contract: Contract) -> str | None:
        """The name under which an answer may be kept; "" for one that never is, None where it may be kept already."""
        depends_on_more = not evidence.reads_only(ask.method, ask.params, contract)  # as with most tools
        name = None if depends_on_more or not self._limits.cache else self._name(ask)
        if name is None:
            return ""
        return None if self._rows else name

    def keep(self, endpoint: Endpoint, ask: Ask, name: str, answer: JsonObject) -> None:
        """Keep an answer that its server says is good for a while."""
        self._keep(endpoint, ask, name, answer)

    async def about(self, target: Target, ask: Ask) -> tuple[JsonObject, ServiceName | None]:
        """See `Tasks.about`: tasks are never kept here."""
        return await self._tasks.about(target, ask)

    # -- forgetting ----------------

    def rows(self) -> tuple[ResultRow, ...]:
        """What is kept, that used last at the end."""
        return tuple(self._rows.values())

    def purge(self, service: str = "", name: str = "") -> int:
        """Forget the results of a service, or of one of its tools or resources, or all; how many."""
        keys = [
            key
            for key, row in self._rows.items()
            if (not service or row.service == service) and (not name or row.name == name)
        ]
        for key in keys:
            self._drop(key)
        return len(keys)

    def updated(self, service: ServiceName, message: JsonObject) -> None:
        """A server announced a change: what was kept of it is out of date."""
        params = message.get("params")
        if message.get("method") == "notifications/resources/updated" and isinstance(params, dict):
            self.purge(service, str(params.get("uri")))
        elif self._rows:
            self.purge(service)

    # -- finding and keeping ----------------

    def _name(self, ask: Ask) -> str | None:
        """What a request names, if its kind can be kept and it stands alone."""
        key, params = _NAMED.get(ask.method), ask.params
        if key is None or params is None or "requestState" in params or "task" in params:
            return None
        name = params.get(key)
        return name if isinstance(name, str) else None

    def _found(self, target: Target, ask: Ask) -> JsonObject | None:
        """What is kept of the version that a call would go to."""
        endpoint = self._selection.peek(target, ask.unit) if self._rows else None
        if endpoint is None or not evidence.reads_only(ask.method, ask.params, endpoint.contract):
            return None
        for owner in ("", _owner(ask)):
            key = _key(endpoint, ask, owner)
            row = self._rows.get(key)
            if row is None:
                continue
            left_s = row.expires_s - self._clock()
            if left_s <= 0:
                self._drop(key)
                continue
            self._rows.move_to_end(key)
            self.hits += 1
            answer: JsonObject = orjson.loads(row.answer)
            if "ttlMs" in answer["result"]:
                answer["result"]["ttlMs"] = int(left_s * 1000)
            return answer
        return None

    def _keep(self, endpoint: Endpoint, ask: Ask, name: str, answer: JsonObject) -> None:
        result = answer.get("result")
        if not isinstance(result, dict) or result.get("isError") or result.get("resultType", "complete") != "complete":
            return
        ttl_ms = result.get("ttlMs")
        if type(ttl_ms) is not int and ask.method == "tools/call":
            ttl_ms = self._limits.cache_tools.get(f"{endpoint.version.service}/{name}")
        if type(ttl_ms) is not int or ttl_ms <= 0:
            return
        if large_json.holds_large(answer):
            return  # a single text is larger than any answer that is kept
        try:
            packed = orjson.dumps(answer)
        except orjson.JSONEncodeError:
            return  # it is nested too deep to be written
        if len(packed) > RESULT_BYTES_MAX:
            return
        owner = "" if result.get("cacheScope") == "public" else _owner(ask)
        now_s, (service, version) = self._clock(), endpoint.version
        row = ResultRow(
            key=_key(endpoint, ask, owner),
            service=service,
            version=version,
            method=ask.method,
            name=name,
            owner=owner,
            stored_s=now_s,
            expires_s=now_s + min(ttl_ms, TTL_MS_MAX) / 1000,
            answer=packed,
        )
        self._hold(row)
        self._added[row.key] = row
        self._flush_soon()

    def _hold(self, row: ResultRow) -> None:
        before = self._rows.pop(row.key, None)
        self._size += len(row.answer) - (0 if before is None else len(before.answer))
        self._rows[row.key] = row
        while len(self._rows) > RESULTS_MAX or self._size > self._limits.cache_bytes_max:
            self._drop(next(iter(self._rows)))

    def _drop(self, key: str) -> None:
        row = self._rows.pop(key)
        self._size -= len(row.answer)
        self._forget_later(key)

    def _forget_later(self, key: str) -> None:
        self._added.pop(key, None)
        self._dropped.add(key)
        self._flush_soon()

    def _flush_soon(self) -> None:
        if self._flushing is None:
            self._flushing = asyncio.get_running_loop().call_later(FLUSH_S, self._flush)

    def _flush(self) -> None:
        self._flushing = None
        added, self._added = self._added, {}
        dropped, self._dropped = self._dropped - added.keys(), set()
        if added or dropped:
            self._store.change([row.model_dump() for row in added.values()], sorted(dropped))


def _owner(ask: Ask) -> str:
    """Whose a private result is: the principal's, else the session's or client's."""
    if ask.principal:
        return f"p:{ask.principal}"
    return ask.unit.key if ask.unit.is_session else ask.unit.key.rpartition(":")[0]


def _key(endpoint: Endpoint, ask: Ask, owner: str) -> str:
    params: dict[str, Any] = {key: value for key, value in (ask.params or {}).items() if key != "_meta"}
    asked = [*endpoint.version, endpoint.contract.digest, ask.method, ask.era is Era.MODERN, owner, params]
    return hashlib.sha256(orjson.dumps(asked, option=orjson.OPT_SORT_KEYS)).hexdigest()
