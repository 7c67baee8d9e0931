"""What follows from a commit and nobody waits for: links, discarded folders, and crossing effects off the outbox.

They are done beside the version machine's mailbox, one after another: a rollback never waits until the folders of some
older version are gone. What is not done when the node dies is in the outbox, and done in its next life.
"""

from __future__ import annotations

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable
from typing import Final

from henslowe.actors import failpoints
from henslowe.actors.versions.rows import OUTBOX, EffectKind, OutboxRow
from henslowe.errors import HensloweError

FINISH_S: Final = 2.0
"""Longest wait for the rest when the node stops; whoever started it gives an actor five seconds."""
CHORES: Final = frozenset({EffectKind.LINKS, EffectKind.DISCARD})

log = logging.getLogger("henslowe.versions")


class Chores:
    """A queue with one worker, which is there as long as there is work. Runs in: the loop.

    Args:
        perform: Does one effect.
        clear: Crosses effects off the outbox; whether storage took it.
        postponed: Told when something has to be tried again.
        broken: Told of a mistake in the code.
    """

    def __init__(
        self,
        perform: Callable[[OutboxRow], Awaitable[None]],
        clear: Callable[[list[OutboxRow]], Awaitable[bool]],
        *,
        postponed: Callable[[], None],
        broken: Callable[[BaseException], None],
    ) -> None:
        self._perform = perform
        self._clear = clear
        self._postponed = postponed
        self._broken = broken
        self._todo: OrderedDict[object, OutboxRow] = OrderedDict()
        self._done: list[OutboxRow] = []
        self._worker: asyncio.Task[None] | None = None

    def add(self, effects: Iterable[OutboxRow]) -> None:
        """More to do; the same effect twice is once."""
        for effect in effects:
            self._todo.setdefault(OUTBOX.key_of(effect), effect)
        self._work()

    def cross_off(self, effects: Iterable[OutboxRow]) -> None:
        """These were performed."""
        self._done += effects
        self._work()

    async def finish(self) -> None:
        """Do the rest; what takes longer than `FINISH_S` is left for another life."""
        if self._worker is not None:
            await asyncio.wait((self._worker,), timeout=FINISH_S)
        if self._worker is not None:
            self._worker.cancel()

    def _work(self) -> None:
        if self._worker is None and (self._todo or self._done):
            self._worker = asyncio.ensure_future(self._run())
            self._worker.add_done_callback(self._ended)

    def _ended(self, worker: asyncio.Task[None]) -> None:
        self._worker = None
        if worker.cancelled():
            return
        if (mistake := worker.exception()) is not None:
            self._broken(mistake)
        else:
            self._work()  # what came between its last look and its end

    async def _run(self) -> None:
        while self._todo or self._done:
            if self._done:
                done, self._done = self._done, []
                if not await self._clear(done):
                    self._postponed()
                continue
            _, effect = self._todo.popitem(last=False)
            try:
                failpoints.reach("versions.before_effect")
                await self._perform(effect)
                failpoints.reach("versions.after_effect")
            except (HensloweError, OSError) as error:
                log.warning("effect_postponed service=%s effect=%s reason=%s", effect.service, effect.effect, error)
                self._postponed()
            else:
                self._done.append(effect)
