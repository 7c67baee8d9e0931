"""Hosts: the actor behind one extension. It makes, starts and stops it; for a sink it also brings the events.

Made anew at each start, so that what one life broke the next does not inherit. Crashes on purpose when its extension
does not start: restarting is its supervisor's business (`henslowe.actors.modules.keeper`).
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import Callable
from typing import Any, Final

from henslowe.actors import names
from henslowe.actors.bounded import bounded
from henslowe.actors.kernel import Continue, LoopActor
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import Confirm, Delivery, Subscribe
from henslowe.actors.modules.board import ModuleBoard, ModuleState
from henslowe.errors import HensloweError
from henslowe.extensions import Context
from henslowe.storage import CursorRow, Store

log = logging.getLogger("henslowe.modules")

START_S: Final = 10.0
STOP_S: Final = 5.0
WRITE_S: Final = 30.0
BACKOFF_FIRST_S: Final = 0.5
BACKOFF_MAX_S: Final = 60.0

Make = Callable[[], Any]
"""A new object of the extension, checked."""


class ModuleHost(LoopActor):
    """The life of one extension.

    Args:
        make: Makes it.
        context: What it is given.
        board: Where it is shown.
    """

    def __init__(self, make: Make, context: Context, board: ModuleBoard) -> None:
        super().__init__()
        self._create = make
        self._context = context
        self._board = board
        self._module: Any = None

    @property
    def _name(self) -> str:
        return self._context.name

    def init(self) -> Continue:
        """The rest follows, so that nobody waits for foreign code."""
        return Continue(None)

    async def handle_continue(self, _: None) -> None:
        """Make it and start it."""
        # With what went wrong the last time, so that one that never starts does not look as if it were just slow.
        self._board.set(self._name, ModuleState.STARTING, self._board.infos[self._name].reason)
        self._context.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            self._module = self._create()
            await bounded(self._module.start, self._context, deadline_s=START_S)
        except Exception as error:
            said = str(error) or type(error).__name__
            self._board.set(self._name, ModuleState.DOWN, f"cannot start: {said}")
            raise
        self._board.set(self._name, ModuleState.RUNNING, module=self._module)

    async def terminate(self, reason: Any) -> None:
        """Stop it; what that raises is told and left."""
        info = self._board.infos[self._name]
        if info.state is not ModuleState.DOWN:
            self._board.set(self._name, ModuleState.DOWN, f"ended: {reason}")
        if self._module is None:
            return
        try:
            await bounded(self._module.stop, deadline_s=STOP_S)
        except Exception as error:  # noqa: BLE001 - foreign code, at its end
            log.warning("module_not_stopped module=%s reason=%r", self._name, error)


class SinkHost(ModuleHost):
    """The life of an extension that gets the events: at least once, in order, from a durable cursor.

    What it does not take is brought again, later each time; meanwhile the bus keeps a position, not a queue.

    Args:
        make: Makes it.
        context: What it is given.
        board: Where it is shown.
        store: The node's.
    """

    def __init__(self, make: Make, context: Context, board: ModuleBoard, store: Store) -> None:
        super().__init__(make, context, board)
        self._store = store
        self._deliveries: deque[Delivery] = deque()
        self._writing: asyncio.Task[None] | None = None

    async def handle_continue(self, arg: None) -> None:
        """Start it, and have events brought."""
        await super().handle_continue(arg)
        cursor, events = f"module:{self._name}", self._store.events
        if events.cursors.latest(cursor) is None:
            await events.cursors.insert(CursorRow(name=cursor, seq=events.last_seq()))
        await registry.via(names.BUS).call(Subscribe(self.ref, streams=tuple(self._module.streams), cursor=cursor))

    def handle_cast(self, delivery: Delivery) -> None:
        """Events; written beside the mailbox, so that an exit is heard."""
        self._deliveries.append(delivery)  # at most a window of events: the bus sees to it
        if self._writing is None or self._writing.done():
            self._writing = asyncio.ensure_future(self._write())

    async def terminate(self, reason: Any) -> None:
        """What is being written is written again in the next life."""
        if self._writing is not None:
            self._writing.cancel()
            await asyncio.gather(self._writing, return_exceptions=True)
        await super().terminate(reason)

    async def _write(self) -> None:
        while self._deliveries:
            delivery = self._deliveries[0]
            failed = 0
            while failure := await self._written(delivery):
                self._board.called(self._name, failure)
                await asyncio.sleep(min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** min(failed, 16)))
                failed += 1
            self._board.called(self._name)
            self._deliveries.popleft()
            registry.via(names.BUS).cast(Confirm(delivery.subscription, delivery.events[-1].seq))

    async def _written(self, delivery: Delivery) -> str:
        """What was wrong, in words; "" for nothing."""
        try:
            await bounded(self._module.write, delivery.events, deadline_s=WRITE_S)
        except HensloweError as error:
            return error.message
        except Exception as error:  # noqa: BLE001 - foreign code
            return f"{type(error).__name__}: {error}"
        return ""
