"""Which version a range of semantic versions means: pure.

A range is written as npm writes it (`1`, `^1.2`, `1.x`, `~1.2.3`, `=1.4.0`, `>=1.2 <2`). It means the newest version in
it that is permanent: one that passed its probation, whether it serves now or was followed by others since. Only where
there is none, it means the newest that serves or served. What was taken back, or never served, is never meant.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable
from typing import Final

from semantic_version import NpmSpec, Version

from henslowe.actors.versions.rows import VersionRow, VersionState
from henslowe.errors import BadRequest

RANGE_CHARS_MAX: Final = 100
_EXACTLY: Final = re.compile(r"#([1-9][0-9]{0,8})")


@functools.lru_cache(maxsize=1_000)
def parse_range(text: str) -> NpmSpec:
    """The range.

    Raises:
        BadRequest: It is not one.
    """
    if len(text) <= RANGE_CHARS_MAX:
        try:
            return NpmSpec(text)
        except ValueError:
            pass
    raise BadRequest(
        f"expected a range of versions like 1, ^1.2, 1.x or =1.4.0, got: {text[:RANGE_CHARS_MAX]!r}",
        hint="henslowe versions SERVICE lists them",
    )


def exactly(number: int) -> str:
    """The range that means the version with this number and no other, whatever became of it. Not for people."""
    return f"#{number}"


def pick(rows: Iterable[VersionRow], text: str) -> VersionRow | None:
    """The version that the range means; None where it means none.

    Raises:
        BadRequest: It is not a range.
    """
    if (exact := _EXACTLY.fullmatch(text)) is not None:
        return next((row for row in rows if row.number == int(exact[1]) and row.launch is not None), None)
    spec = parse_range(text)
    found = [(row, version) for row in startable(rows) if (version := _version(row.semver)) in spec]
    permanent = [each for each in found if not each[0].probation]
    # What follows a + is no part of the precedence: of two builds of one version the later one is newer.
    newest = max(permanent or found, key=lambda each: (each[1].precedence_key[:4], each[0].number), default=None)
    return None if newest is None else newest[0]


def startable(rows: Iterable[VersionRow]) -> list[VersionRow]:
    """The versions that a range may mean, newest first."""
    served = (VersionState.ACTIVE, VersionState.ARCHIVED)
    meant = [row for row in rows if row.state in served and row.launch is not None]
    return sorted(meant, key=lambda row: -row.number)


@functools.lru_cache(maxsize=10_000)
def _version(semver: str) -> Version:
    return Version.coerce(semver or "0.0.0")
