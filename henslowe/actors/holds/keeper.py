"""The hold keeper: has versions started that are needed beside those that serve, and lets them go when they rest.

A hold is a promise for some seconds, said again while it is needed (`HoldVersion`); nothing is remembered beyond that.
A keeper that restarts learns anew what is needed, and lets the rest of what its predecessor held go after a minute. It
starts nothing itself: the instance manager keeps a version running until each of its holders has released it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from henslowe.actors import names
from henslowe.actors.ids import VersionKey
from henslowe.actors.kernel import LoopActor
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import HoldVersion, InstanceBroken, ReleaseInstance
from henslowe.actors.versions import VERSIONS, LayOut, Starting
from henslowe.errors import HensloweError
from henslowe.storage import Store

log = logging.getLogger(__name__)

HOLDER: Final = "holds"
TICK_S: Final = 1.0
SETTLE_S: Final = 60.0
"""After the start; whoever holds a version says so far more often."""
HELD_MAX: Final = 200
"""Versions held at once; each is a process or more. Beyond it, a version that is not up stays down."""
BROKEN_FIRST_S: Final = 5.0
BROKEN_MAX_S: Final = 300.0
"""From a version that cannot be kept running to the next try, doubled each time."""


@dataclass(slots=True)
class _Hold:
    until_s: float
    not_before_s: float = 0.0
    """It could not be started: not again before this time."""
    failures: int = 0


@dataclass(slots=True, frozen=True)
class Tick:
    """Info to HOLDS, from its own timer: release what nobody needs any more."""


@dataclass(slots=True, frozen=True)
class Settle:
    """Info to HOLDS, from its own timer: release what was held by a predecessor alone."""


class HoldKeeper(LoopActor):
    """Answers `HoldVersion`.

    Args:
        store: Has the versions.
        workspace: Where builds lie.
        lay_out: Makes folders of versions again that were deleted.
        drain_s: Longest wait for calls in flight when a version is let go.
        now_s: Monotonic seconds.
    """

    def __init__(
        self,
        store: Store,
        workspace: Path,
        lay_out: LayOut,
        *,
        drain_s: float,
        now_s: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__()
        self._versions = store.table(VERSIONS)
        self._starting = Starting(workspace, lay_out)
        self._drain_s = drain_s
        self._now_s = now_s
        self._holds: dict[VersionKey, _Hold] = {}

    def init(self) -> None:
        """Begin with nothing; whoever needs a version says so again."""
        self.send_after(TICK_S, Tick())
        self.send_after(SETTLE_S, Settle())

    async def handle_cast(self, message: HoldVersion | InstanceBroken) -> None:
        """Hold a version, or take note that one cannot be kept running."""
        hold = self._holds.get(message.version)
        if isinstance(message, HoldVersion):
            await self._hold(message, hold)
        elif hold is not None:
            hold.failures += 1
            pause_s = min(BROKEN_MAX_S, BROKEN_FIRST_S * 2.0 ** min(hold.failures - 1, 16))
            hold.not_before_s = self._now_s() + pause_s

    def handle_info(self, message: Tick | Settle) -> None:
        """Let go of what rests."""
        if isinstance(message, Settle):
            for row in self._versions.rows():
                if row.key not in self._holds:
                    self._release(row.key)
            return
        now_s = self._now_s()
        for version in [version for version, hold in self._holds.items() if hold.until_s <= now_s]:
            del self._holds[version]
            self._release(version)
        self.send_after(TICK_S, message)

    def _release(self, version: VersionKey) -> None:
        registry.via(names.INSTANCES).cast(ReleaseInstance(version, self._drain_s, HOLDER))

    async def _hold(self, message: HoldVersion, hold: _Hold | None) -> None:
        version, now_s = message.version, self._now_s()
        if hold is None:
            if len(self._holds) >= HELD_MAX:
                log.warning("version_not_held", extra={"version": str(version), "held": len(self._holds)})
                return
            hold = self._holds[version] = _Hold(0.0)
        hold.until_s = max(hold.until_s, now_s + message.hold_s)
        row = self._versions.lookup(version)
        if row is None or now_s < hold.not_before_s:
            return
        try:
            order = await self._starting.order(row, HOLDER)
        except HensloweError as failure:
            log.warning("version_not_held", extra={"version": str(version), "cause": failure.message})
            await self.handle_cast(InstanceBroken(version, failure.message))
            return
        registry.via(names.INSTANCES).cast(order)
