"""Extensions as a package might bring them: good ones, and each way to be bad."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from importlib import metadata
from typing import Any, ClassVar

from pydantic import BaseModel

from henslowe.extensions import (
    ByteReader,
    ByteWriter,
    ChildSpec,
    Context,
    Event,
    ExtensionError,
    Intercepting,
    Interceptor,
    JsonObject,
    LoopActor,
    Operation,
    Persistence,
    ProtocolHandler,
    ProtocolRequest,
    Reply,
    StateManager,
    TableSpec,
    Transport,
)


def points(**named: tuple[str, str]) -> Any:
    """A lookup of entry points: name -> (group, the object in this module)."""
    entries = [
        metadata.EntryPoint(name.replace("_", "-"), f"tests.extensions.bringing:{value}", group)
        for name, (group, value) in named.items()
    ]

    def lookup(group: str) -> Sequence[metadata.EntryPoint]:
        return [each for each in entries if each.group == group]

    return lookup


class Sink(Persistence):
    """Keeps events in the class, so that lives can be compared; refuses the first `refusals` times."""

    api_version = 1
    streams = ("lifecycle",)
    written: ClassVar[list[int]] = []
    refusals: ClassVar[int] = 0
    starts: ClassVar[list[Context]] = []

    async def start(self, context: Context) -> None:
        Sink.starts.append(context)

    async def write(self, events: Sequence[Event]) -> None:
        if Sink.refusals:
            Sink.refusals -= 1
            raise OSError("the disk is full")
        Sink.written += [event.seq for event in events]


class CountRow(BaseModel, frozen=True, extra="forbid"):
    name: str
    count: int = 0


class CountKeeper(LoopActor):
    def __init__(self, context: Context) -> None:
        super().__init__()
        self._counts = context.table(COUNTS)

    async def handle_call(self, name: str, _sender: Reply) -> int:
        if name == "crash":
            raise RuntimeError("asked to")
        row = self._counts.lookup(name, CountRow(name=name))
        await self._counts.insert(row.model_copy(update={"count": row.count + 1}))
        return row.count + 1


COUNTS = TableSpec(name="counts", row_type=CountRow, key="name")


class Counts(StateManager):
    api_version = 1
    tables = (COUNTS,)

    def child(self, context: Context) -> ChildSpec:
        return ChildSpec(id="whatever", actor=CountKeeper, args=(context,), name="whatever")


class ForeignTable(Counts):
    tables = (TableSpec(name="services", row_type=CountRow, key="name"),)


class Broken(Persistence):
    """Does not start."""

    api_version = 1
    streams = ("lifecycle",)

    async def start(self, context: Context) -> None:
        raise OSError(f"no place for {context.name}")

    async def write(self, events: Sequence[Event]) -> None:
        raise AssertionError(events)


class Echo(ProtocolHandler):
    api_version = 1
    methods = ("acme/echo",)

    async def handle(self, request: ProtocolRequest) -> JsonObject:
        match request.params.get("do"):
            case "refuse":
                raise ExtensionError(-32001, "no", {"why": "asked"})
            case "fail":
                raise RuntimeError("boom")
            case "mumble":
                return ["no object"]  # type: ignore[return-value]
        return {"params": request.params, "service": request.service, "principal": request.principal}


class TakesTools(Echo):
    methods = ("tools/call",)


class Memory(Transport):
    """Opens connections to an echo in memory."""

    api_version = 1
    schemes = ("memory",)
    tries: ClassVar[int] = 0
    missing: ClassVar[int] = 0

    async def open(self, url: str, headers: Mapping[str, str]) -> tuple[ByteReader, ByteWriter]:
        Memory.tries += 1
        if Memory.missing:
            Memory.missing -= 1
            raise ConnectionRefusedError(f"nobody at {url}")
        raise RuntimeError(f"broken for good with {dict(headers)}")


class Guard(Intercepting):
    api_version = 1

    def __init__(self) -> None:
        self.interceptors = (Interceptor("guard", before=self._before),)

    async def _before(self, operation: Operation) -> None:
        raise PermissionError(f"no {operation.kind}")


class Mourner(Guard):
    def __init__(self) -> None:
        self.interceptors = (Interceptor("mourner", after=self._after),)

    async def _after(self, _operation: Operation) -> None:
        raise PermissionError("too late")


class Old(Sink):
    api_version = 0


class NoSink:
    api_version = 1

    async def start(self, context: Context) -> None: ...
    async def stop(self) -> None: ...


class Hanging(Sink):
    async def write(self, events: Sequence[Event]) -> None:
        await asyncio.Event().wait()


def exits() -> Any:
    raise SystemExit(7)
