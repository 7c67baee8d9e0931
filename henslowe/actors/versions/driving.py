"""Drives effects: those that somebody waits for in order, before the next message; the rest beside the mailbox.

Not here: what an effect does (`effects`), how the rest is worked off (`chores`).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable

from henslowe.actors import failpoints
from henslowe.actors.ids import ServiceName
from henslowe.actors.kernel import ActorExit, CallTimeout
from henslowe.actors.versions.chores import CHORES, Chores
from henslowe.actors.versions.rows import OutboxRow
from henslowe.errors import HensloweError

log = logging.getLogger("henslowe.versions")


class Driver:
    """Performs effects, and crosses those off the outbox that were. Runs in: the loop.

    Args:
        perform: Does one effect.
        clear: Crosses effects off the outbox; whether storage took it.
        again: Asked to have the outbox driven once more, after a while; not asked twice before that.
        broken: Told of a mistake in what is done beside the mailbox.
    """

    def __init__(
        self,
        perform: Callable[[OutboxRow], Awaitable[None]],
        clear: Callable[[list[OutboxRow]], Awaitable[bool]],
        *,
        again: Callable[[], None],
        broken: Callable[[BaseException], None],
    ) -> None:
        self._perform = perform
        self._again = again
        self._asked = False
        self._chores = Chores(perform, clear, postponed=self._later, broken=broken)

    async def drive(self, effects: Iterable[OutboxRow]) -> bool:
        """Performs effects in order; whether all were. One that fails keeps its service's later ones waiting.

        What nobody waits for is only handed over: routes do not change later because of a folder.
        """
        done: list[OutboxRow] = []
        chores: list[OutboxRow] = []
        waiting: set[ServiceName] = set()
        for effect in effects:
            if effect.service in waiting:
                continue
            if effect.kind in CHORES:
                chores.append(effect)
                continue
            try:
                failpoints.reach("versions.before_effect")
                await self._perform(effect)
                failpoints.reach("versions.after_effect")
                done.append(effect)
            except (ActorExit, CallTimeout, HensloweError, OSError) as error:
                log.warning("effect_postponed service=%s effect=%s reason=%s", effect.service, effect.effect, error)
                waiting.add(effect.service)
                self._later()
        self._chores.cross_off(done)
        self._chores.add(chores)
        return not waiting

    async def drive_again(self, effects: Iterable[OutboxRow]) -> bool:
        """The same, as was asked for."""
        self._asked = False
        return await self.drive(effects)

    async def finish(self) -> None:
        """What is left to do beside the mailbox is done, or is in the outbox for the next life."""
        await self._chores.finish()

    def _later(self) -> None:
        if not self._asked:
            self._asked = True
            self._again()
