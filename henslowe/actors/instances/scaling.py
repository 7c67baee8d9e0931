"""How many instances a version should have, from how much it has to do: pure, with the time passed in.

    scaling = Scaling(ScaleSettings(min=1, max=4, target_queue=8))
    scaling.wanted(Load(instances=1, calls=20), now_s=0.0)

Up fast: as soon as two looks in a row see more calls than the instances should have, straight to as many as are needed.
Down slowly: to what the busiest moment of the last `down_s` needed, one at a time, and only when fewer would have had
room to spare. The difference between the two is the hysteresis: a load that swings around a boundary changes nothing.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass, field
from typing import Final

from henslowe.config.upkeep import ScaleSettings

ROOM: Final = 0.75
"""Part of `target_queue` that fewer instances may have before one is stopped."""
PAUSE_FIRST_S: Final = 20.0
PAUSE_MAX_S: Final = 900.0
QUIET_S: Final = 3_600.0
LOOKS: Final = 16
"""Parts of `down_s` of which each remembers its busiest moment."""


@dataclass(slots=True, frozen=True)
class Load:
    """What there is to do: instances that were asked for, and calls in flight and waiting."""

    instances: int
    calls: int


@dataclass(slots=True)
class Scaling:
    """The decisions on one version."""

    scale: ScaleSettings
    _before: int = 0
    """What the last look wanted."""
    _busiest: deque[tuple[float, int]] = field(default_factory=deque)
    """Beginning of each part of `down_s`, and the instances that its busiest moment needed, with room to spare."""
    _changed_s: float = -math.inf

    def wanted(self, load: Load, now_s: float) -> int:
        """How many there should be now."""
        at_least, at_most = max(1, self.scale.min), self.scale.most
        needed = self._bounded(load.calls / self.scale.target_queue)
        self._remember(self._bounded(load.calls / (self.scale.target_queue * ROOM)), now_s)
        twice, self._before = min(needed, self._before), needed
        if load.instances < at_least or load.instances > at_most:
            return self._changed(min(max(load.instances, at_least), at_most), now_s)
        if twice > load.instances:
            return self._changed(twice, now_s)
        enough = max(most for _, most in self._busiest)
        since_s = max(self._busiest[0][0], self._changed_s)
        if enough < load.instances and now_s - since_s >= self.scale.down_s:
            return self._changed(load.instances - 1, now_s, pause_s=self.scale.down_s / 4)
        return load.instances

    def _bounded(self, instances: float) -> int:
        return min(max(math.ceil(instances), 1, self.scale.min), self.scale.most)

    def _remember(self, needed: int, now_s: float) -> None:
        if not self._busiest or now_s - self._busiest[-1][0] >= self.scale.down_s / LOOKS:
            self._busiest.append((now_s, needed))
        elif needed > self._busiest[-1][1]:
            self._busiest[-1] = (self._busiest[-1][0], needed)
        while len(self._busiest) > 1 and now_s - self._busiest[1][0] >= self.scale.down_s:
            self._busiest.popleft()

    def _changed(self, instances: int, now_s: float, pause_s: float | None = None) -> int:
        """Remember a change; the next one down is `pause_s` away, or all of `down_s`."""
        self._changed_s = now_s if pause_s is None else now_s - self.scale.down_s + pause_s
        return instances


@dataclass(slots=True)
class Replacements:
    """How often instances of one version may be replaced for their size.

    The first at once, the next ones after a pause that doubles: a limit below what the server needs at its start must
    not keep the node busy with starting it. After a quiet time it begins anew.
    """

    _count: int = 0
    _last_s: float = -math.inf

    def may(self, now_s: float) -> bool:
        """Whether one may be replaced now; if so, it counts."""
        if now_s - self._last_s >= QUIET_S:
            self._count = 0
        elif now_s - self._last_s < min(PAUSE_MAX_S, PAUSE_FIRST_S * 2.0 ** (self._count - 1)):
            return False
        self._count, self._last_s = self._count + 1, now_s
        return True
