"""Who is on which arm where a service says more than "each session by its coin": stickiness and `[ab]`. Pure.

A `Rule` belongs to a route that has such a say; other routes have none, and nothing here is asked for their calls. A
`Visitor` is what a rule needs to know of whoever calls.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from henslowe.config.exposure import Exposure, Sticky


class Visitor(NamedTuple):
    """Who calls, as far as a rule asks."""

    principal: str
    """"" for anybody."""
    client: str
    """Digest of the client program and where it comes from."""
    headers: Mapping[str, str]
    """Of the request, by lower-case name or however the mapping looks names up."""


@dataclass(slots=True, frozen=True)
class Rule:
    """What a route's service says of its arms."""

    sticky: Sticky = "session"
    header: str = ""
    candidate: frozenset[str] = field(default=frozenset())
    """Values of the header that lead to the new version."""
    stable: frozenset[str] = field(default=frozenset())
    """Those that lead to the active one."""

    def chosen(self, visitor: Visitor) -> bool | None:
        """Whether the caller asks for the candidate; None where it asks for neither arm."""
        value = visitor.headers.get(self.header) if self.header else None
        if value is None:
            return None
        return True if value in self.candidate else False if value in self.stable else None

    def unit(self, visitor: Visitor, key: str, is_session: bool) -> tuple[str, bool]:
        """The unit of routing, and whether it stays for the whole rollout; `key` is what it is by default."""
        if self.sticky == "session":
            return key, is_session
        if self.sticky == "principal" and visitor.principal:
            return f"p:{visitor.principal}", True
        return f"c:{visitor.client}", True


def rule_of(exposure: Exposure, *, rollout: bool) -> Rule | None:
    """The rule of a route, None for what every route does.

    Args:
        exposure: Of the version that last became canary or active.
        rollout: Whether that is a canary now: `[ab]` is over once it is not.
    """
    ab = exposure.ab if rollout else None
    if exposure.sticky == "session" and (ab is None or not ab.header):
        return None
    values = {} if ab is None else ab.values
    return Rule(
        exposure.sticky,
        "" if ab is None else ab.header,
        frozenset(value for value, arm in values.items() if arm == "candidate"),
        frozenset(value for value, arm in values.items() if arm == "stable"),
    )
