"""The `[health]` and `[scale]` of a version: the node's, with those of a declared service and of the version over them.

What a developed service says in its `service.toml` is in the row of each of its versions, and goes with it: a rollback
brings back the limits that the older version was written with.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Final, Protocol

from henslowe.actors.ids import VersionKey
from henslowe.config.settings import Settings
from henslowe.config.upkeep import Health, HealthSettings, Scale, ScaleSettings, laid_over

KNOWN_MAX: Final = 10_000
"""Versions remembered."""


class LookedAfter(Protocol):
    """What is read of a version's row (`henslowe.actors.versions.VersionRow` is one)."""

    @property
    def health(self) -> Health:
        """Its own limits."""
        ...

    @property
    def scale(self) -> Scale:
        """Its own numbers of instances."""
        ...


Lookup = Callable[[VersionKey], LookedAfter | None]
"""Finds a version's row."""


class Upkeep:
    """Knows what holds for which version. Runs in: the loop.

    Args:
        settings: The node's, and those of declared services.
        row_of: Finds the rows of versions.
    """

    def __init__(self, settings: Settings, row_of: Lookup = lambda _version: None) -> None:
        self._settings = settings
        self._row_of = row_of
        self._known: OrderedDict[VersionKey, tuple[LookedAfter | None, HealthSettings, ScaleSettings]] = OrderedDict()
        """By version, with the row that it is of: a changed row is another object."""

    def health(self, version: VersionKey) -> HealthSettings:
        """The limits of a version."""
        return self._of(version)[1]

    def scale(self, version: VersionKey) -> ScaleSettings:
        """How many instances of a version run."""
        return self._of(version)[2]

    def _of(self, version: VersionKey) -> tuple[LookedAfter | None, HealthSettings, ScaleSettings]:
        row, known = self._row_of(version), self._known.get(version)
        if known is None or known[0] is not row:
            declared = self._settings.services.get(version.service)
            given = [each for each in (declared, row) if each is not None]
            known = self._known[version] = (
                row,
                laid_over(self._settings.health, *(each.health for each in given)),
                laid_over(self._settings.scale, *(each.scale for each in given)),
            )
            if len(self._known) > KNOWN_MAX:
                self._known.popitem(last=False)
        return known
