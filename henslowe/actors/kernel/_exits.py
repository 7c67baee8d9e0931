"""Exit reasons, and the exceptions by which a caller learns of them.

A reason is any value; an exception instance means a crash. The strings below have OTP's meaning. Signals
themselves (links, `exit`) live in `_lifecycle`; what a supervisor makes of a reason is `henslowe.supervisors.policy`.
"""

from __future__ import annotations

from typing import Any, Final

import pykka

NORMAL: Final = "normal"
"""The actor ended because it was finished."""
SHUTDOWN: Final = "shutdown"
"""The actor ended because its supervisor asked; `("shutdown", detail)` means the same with a detail."""
KILL: Final = "kill"
"""An exit signal that cannot be trapped; links and monitors see `KILLED`."""
KILLED: Final = "killed"
NOPROC: Final = "noproc"
"""There is no such actor: it is dead already, or a name stands for nobody."""
ALREADY_STARTED: Final = "already_started"
"""The first item of the reason with which a start is refused when its name is taken; the second is the holder."""
CALLING_SELF: Final = "calling_self"
"""A call that could never be answered, because the callee waits for it."""


def is_clean(reason: object) -> bool:
    """True for `NORMAL`, `SHUTDOWN` and `(SHUTDOWN, detail)`: exits that a transient child is not restarted after."""
    if isinstance(reason, str):
        return reason in (NORMAL, SHUTDOWN)
    return isinstance(reason, tuple) and len(reason) > 0 and reason[0] == SHUTDOWN


class ActorExit(pykka.ActorDeadError):
    """The actor that was called (or started) has ended; `reason` says why.

    Args:
        reason: The exit reason of the actor, `NOPROC` when there was none.
        text: What to print instead of the reason.
    """

    def __init__(self, reason: Any, text: str | None = None) -> None:
        super().__init__(text if text is not None else f"actor exited: {reason!r}")
        self.reason = reason
        if isinstance(reason, BaseException):
            self.__cause__ = reason


class StartFailed(ActorExit):
    """An actor could not be started: its `init` failed with `reason`, or its name is taken.

    A type of its own, so that the caller of a supervisor can tell a child that did not start from a supervisor that
    is not there.
    """


class CallTimeout(pykka.Timeout):
    """No answer came in time. The callee may still be working; its late answer is dropped."""


def calling_self(ref: object) -> ActorExit:
    """The error of a call to oneself."""
    return ActorExit(CALLING_SELF, f"cannot call {ref}: an actor that waits for its own answer would wait for ever")
