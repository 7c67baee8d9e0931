"""What people say: to services, to all of them, and of tokens."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from henslowe.actors.ids import ServiceName

# -- people (CLI, admin API) -> version machine ----------------


class Action(StrEnum):
    """Commands of a person on a service."""

    PROMOTE = "promote"
    """One step further; of a version without steps, all of the traffic."""
    PROMOTE_FULL = "promote-full"
    """All of the traffic now."""
    APPROVE = "approve"
    """The gate that it waits at, or comes to in this step."""
    ROLLBACK = "rollback"
    HOLD = "hold"
    RESUME = "resume"
    FREEZE = "freeze"
    """Nothing new until a time, or until UNFREEZE."""
    UNFREEZE = "unfreeze"
    ABORT = "abort"
    """End the rollout: what is on its way is given up, what serves goes on serving."""
    RETRY = "retry"
    """Roll the newest build out again that was taken back, aborted or never started."""
    RESTART = "restart"
    REMOVE = "remove"
    PIN = "pin"
    UNPIN = "unpin"


@dataclass(slots=True, frozen=True)
class Command:
    """Call to VERSIONS. Reply: a dict for people (`{"service", "action", "state", "version", "message"}`).

    Raises:
        Conflict: The transition table does not have it now (the message says what state the service is in).
        NotFound: No such service.
    """

    service: ServiceName
    action: Action
    by: str
    reason: str = ""
    expected_epoch: int | None = None
    to_version: int | None = None
    """For ROLLBACK: which archived version, else the previous one. For RETRY, PIN and UNPIN: which one."""
    until_s: float | None = None
    """For FREEZE: Unix time, else until somebody ends it."""
    override_freeze: str = ""
    """Why the version on its way may go on through a freeze."""
    skip_hooks: str = ""
    """Why the hooks of what this does are not asked."""


class LineAction(StrEnum):
    """Commands of a person on all services at once."""

    STOP = "stop"
    START = "start"
    FREEZE = "freeze"
    UNFREEZE = "unfreeze"


@dataclass(slots=True, frozen=True)
class LineCommand:
    """Call to VERSIONS. Reply: a dict for people (`{"action", "changed", "message"}`)."""

    action: LineAction
    by: str
    reason: str = ""
    until_s: float | None = None
    """For FREEZE: Unix time, else until somebody ends it."""


# -- people (CLI, admin API) -> keeper of tokens ----------------


@dataclass(slots=True, frozen=True)
class CreateToken:
    """Call to ACCESS. Reply: `Minted`, the one time that the token's text is known.

    Raises:
        ConfigError: A scope or the name is not what was expected.
        Forbidden: The maker does not hold the scopes himself.
        Conflict: There is a token of that name.
    """

    name: str
    scopes: tuple[str, ...]
    by: str
    may: frozenset[str]
    """The scopes of the maker."""
    expires_s: float | None = None
    """Unix time; None for never."""


@dataclass(slots=True, frozen=True)
class RotateToken:
    """Call to ACCESS: a new secret for a token. Reply: `Minted`. Raises what `CreateToken` does, and NotFound."""

    token: str
    """Its name or id."""
    by: str
    may: frozenset[str]
    grace_s: float = 0.0
    """How long the old secret is good, too."""


@dataclass(slots=True, frozen=True)
class RevokeToken:
    """Call to ACCESS: end a token now, and what it opened. Reply: its last row. Raises NotFound."""

    token: str
    """Its name or id."""
    by: str
