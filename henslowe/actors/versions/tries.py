"""How long until a version that cannot be kept running is tried again: beyond the instance's own restarts."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from henslowe.actors.ids import VersionKey

FIRST_S: Final = 10.0
LAST_S: Final = 600.0
"""From the failure to the next try, doubled each time."""
VERSIONS_MAX: Final = 1_000
"""Remembered; one that is forgotten begins anew."""


class Tries:
    """Counts the tries of versions. Runs in: the loop."""

    def __init__(self) -> None:
        self._of: OrderedDict[VersionKey, int] = OrderedDict()

    def next_s(self, version: VersionKey) -> float:
        """Counts one more failure; how long to wait now, in seconds."""
        failed = self._of.pop(version, 0)
        self._of[version] = failed + 1
        if len(self._of) > VERSIONS_MAX:
            self._of.popitem(last=False)
        return min(LAST_S, FIRST_S * 2.0 ** min(failed, 16))

    def forget(self, version: VersionKey) -> None:
        """It is up."""
        self._of.pop(version, None)
