"""Whom the stages tell how they go: the event log, for a version; whoever asked, for a trial.

Not here: what is told (`stages`), and the events' words (`henslowe.actors.vocabulary`).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection
from typing import Any, Final, Protocol, TypeAlias

from henslowe.actors import names
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.journal import draft, say
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import Publish
from henslowe.actors.pipeline.output import Line
from henslowe.actors.vocabulary import EventType, Status, Stream
from henslowe.errors import HensloweError
from henslowe.words import counted

WAITING_MAX: Final = 20_000
"""Items that wait for a reader of a trial; beyond it lines of output are left out, and counted."""

Told: TypeAlias = dict[str, Any] | HensloweError | None
"""An event, why there will be none, or the end."""


class Teller(Protocol):
    """Takes what stages say; never blocks, never fails. Runs in: the loop."""

    def say(self, event_type: EventType, status: Status, **data: Any) -> None:
        """Something happened."""
        ...

    def lines(self, stage: str, lines: Collection[Line]) -> None:
        """A stage printed this."""
        ...


class Journal:
    """Tells the event log, as events of one version."""

    def __init__(self, version: VersionKey) -> None:
        self._version = version

    def say(self, event_type: EventType, status: Status, **data: Any) -> None:
        """Fire and forget."""
        say(event_type, status, key=self._version, **data)

    def lines(self, stage: str, lines: Collection[Line]) -> None:
        """One transaction for all of them."""
        registry.via(names.BUS).cast(
            Publish(
                tuple(
                    draft(
                        EventType.STAGE_OUTPUT,
                        Status.INFO,
                        key=self._version,
                        stream=Stream.OUTPUT,
                        source=stage,
                        channel=channel,
                        line=text,
                    )
                    for channel, text in lines
                )
            )
        )


class Listener:
    """Tells one reader, who takes the events with `next`; they are nowhere else."""

    def __init__(self, service: ServiceName) -> None:
        self._service = service
        self._told: asyncio.Queue[Told] = asyncio.Queue()
        self._left_out = 0

    async def next(self) -> Told:
        """What was told next. Waits."""
        return await self._told.get()

    def say(self, event_type: EventType, status: Status, **data: Any) -> None:
        """For the reader."""
        self._say_left_out()
        self._put(event_type, status, data)

    def lines(self, stage: str, lines: Collection[Line]) -> None:
        """For the reader, unless it is far behind."""
        if self._told.qsize() + len(lines) > WAITING_MAX:
            self._left_out += len(lines)
            return
        for channel, text in lines:
            self._put(EventType.STAGE_OUTPUT, Status.INFO, {"source": stage, "channel": channel, "line": text})

    def end(self, error: HensloweError | None = None) -> None:
        """No more will come; `error` is why there was nothing."""
        self._say_left_out()
        self._told.put_nowait(error)

    def _say_left_out(self) -> None:
        left_out, self._left_out = self._left_out, 0
        if left_out:
            text = f"{counted(left_out, 'line')} left out: not read in time"
            self._put(EventType.STAGE_OUTPUT, Status.INFO, {"source": "", "channel": "note", "line": text})

    def _put(self, event_type: EventType, status: Status, data: dict[str, Any]) -> None:
        head = {"time_s": time.time(), "type": event_type.value, "status": status.value, "service": self._service}
        self._told.put_nowait({**head, "data": data})
