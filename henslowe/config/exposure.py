"""How a version is shown to traffic beside the shares of its rollout: replay, stickiness, `[ab]` and `[mirror]`.

    sticky = "principal"           # session | principal | client
    replay = "gate"                # off | report | hold | gate

    [ab]
    header = "x-variant"           # a client that sends `x-variant: b` is served by the candidate
    values = { b = "candidate" }
    percent = 20                   # and this share of those that send none

    [mirror]
    percent = 10                   # of the live calls of read-only tools are also sent to the candidate

An `Exposure` is kept with its version, so that a rollout is finished as it was begun. Who acts on it: the version
machine, `henslowe.actors.rehearsal`, the router and the gateway.
"""

from __future__ import annotations

import re
from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from henslowe.config.section import Percent, Section

ReplayPolicy = Literal["off", "report", "hold", "gate"]
"""What becomes of a version that fails captured calls which the active one answers: nothing is replayed; it goes on and
says so; it waits, STAGED, for a person; it is taken back before it meets a client."""
DifferencesPolicy = Literal["report", "hold", "gate"]
"""The same for one that answers, but differently."""
Sticky = Literal["session", "principal", "client"]
"""What stays with one version during a rollout. `session`: each session, or a stateless client for five minutes;
`principal`: all that one principal does; `client`: all that comes from one client program at one address."""
ArmName = Literal["candidate", "stable"]

VALUES_MAX: Final = 20
_HEADER: Final = re.compile(r"[a-z0-9][a-z0-9-]{0,63}")
_TAKEN: Final = frozenset(
    {"accept", "authorization", "content-length", "content-type", "cookie", "host", "mcp-method", "mcp-name",
     "mcp-protocol-version", "mcp-session-id", "origin", "last-event-id", "user-agent"}
)  # fmt: skip


def _header(name: str) -> str:
    lower = name.lower()
    if lower and (not _HEADER.fullmatch(lower) or lower in _TAKEN):
        raise ValueError(f"expected the name of a header of your own such as 'x-variant', got {name!r:.80}")
    return lower


class AbTest(Section):
    """Two versions beside each other until a person decides."""

    header: Annotated[str, AfterValidator(_header)] = ""
    """Name of a request header by which clients choose."""
    values: Annotated[dict[str, ArmName], Field(max_length=VALUES_MAX)] = {}
    """Its values: `candidate` for the new version, `stable` for the active one. Other values choose nothing."""
    percent: Percent = 0.0
    """Share of the units that choose nothing which meet the candidate."""

    @model_validator(mode="after")
    def _leads_somewhere(self) -> Self:
        if bool(self.header) is not bool(self.values):
            given, missing = ("header", "values") if self.header else ("values", "header")
            raise ValueError(
                f"expected header and values together, got {given} alone; add {missing}, for example "
                'header = "x-variant" and values = { b = "candidate" }'
            )
        if not self.header and not self.percent:
            raise ValueError("expected a percent above 0, or header and values, got neither; remove [ab] for none")
        return self


class Mirror(Section):
    """Live calls of read-only tools, answered by the active version, that are sent to the candidate as well."""

    percent: Annotated[float, Field(gt=0, le=100)] = 10.0
    """So many of a hundred."""
    only: bool = False
    """Whether the candidate gets nothing but copies, until a person promotes it."""


class Exposure(Section):
    """How one version is shown to traffic, complete."""

    replay: ReplayPolicy = "gate"
    replay_differences: DifferencesPolicy = "report"
    sticky: Sticky = "session"
    ab: AbTest | None = None
    mirror: Mirror | None = None

    @property
    def beside(self) -> bool:
        """Whether the version has to be beside the active one, however little traffic there is."""
        return self.ab is not None or self.mirror is not None

    @property
    def by_person(self) -> bool:
        """Whether nothing but a person's word promotes the version."""
        return self.ab is not None or (self.mirror is not None and self.mirror.only)

    def share(self, weight: int) -> int:
        """The candidate's share in ten-thousandths, `weight` where neither `[ab]` nor `[mirror]` says."""
        if self.ab is not None:
            return round(self.ab.percent * 100)
        return 0 if self.mirror is not None and self.mirror.only else weight
