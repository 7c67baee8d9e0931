"""What callbacks may return, and the messages that the kernel itself delivers.

Casts travel raw: the message object is the queue item. Everything in `SPECIAL` is an item that is not a cast.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Final

from pykka import messages
from pykka._envelope import Envelope

from ._exits import NORMAL

if TYPE_CHECKING:
    from ._ref import Ref


class Stop:
    """A callback's result: end with `reason`; in `handle_call`, answer `reply` after `terminate` has run."""

    __slots__ = ("reason", "reply")

    def __init__(self, reason: Any = NORMAL, reply: Any = None) -> None:
        self.reason = reason
        self.reply = reply

    def __repr__(self) -> str:
        return f"Stop({self.reason!r})"


class Continue:
    """A callback's result: run `handle_continue(arg)` before any other message; `reply` answers a call first."""

    __slots__ = ("arg", "reply")

    def __init__(self, arg: Any, reply: Any = None) -> None:
        self.arg = arg
        self.reply = reply

    def __repr__(self) -> str:
        return f"Continue({self.arg!r})"


class _Marker:
    __slots__ = ("_name",)

    def __init__(self, name: str) -> None:
        self._name = name

    def __repr__(self) -> str:
        return self._name


IGNORE: Final[Any] = _Marker("IGNORE")
"""Result of `init`: do not start, and that is fine."""
NOREPLY: Final[Any] = _Marker("NOREPLY")
"""Result of `handle_call`: somebody will call `sender.set(value)` later."""


class MonitorRef:
    """Identifies one monitor; given by `monitor`, found again in `Down.mref`."""

    __slots__ = ("cancel",)

    def __init__(self) -> None:
        self.cancel: Callable[[], None] = _nothing


def _nothing() -> None:
    return None


class Down:
    """A monitored actor has ended."""

    __slots__ = ("mref", "reason", "ref")

    def __init__(self, mref: MonitorRef, ref: Ref, reason: Any) -> None:
        self.mref = mref
        self.ref = ref
        self.reason = reason

    def __repr__(self) -> str:
        return f"Down({self.ref}, {self.reason!r})"


class Exit:
    """A linked actor has ended, or somebody sent an exit signal, to an actor that traps exits."""

    __slots__ = ("reason", "ref")

    def __init__(self, ref: Ref | None, reason: Any) -> None:
        self.ref = ref
        self.reason = reason

    def __repr__(self) -> str:
        return f"Exit({self.ref}, {self.reason!r})"


class Info:
    """Wraps what `ref.send` and timers deliver to `handle_info`."""

    __slots__ = ("message",)

    def __init__(self, message: Any) -> None:
        self.message = message


class Signal:
    """An exit signal on its way to an actor that does not trap exits."""

    __slots__ = ("reason",)

    def __init__(self, reason: Any) -> None:
        self.reason = reason


class StopRequest:
    """`ref.stop(reason=...)`: ends the actor in mailbox order."""

    __slots__ = ("reason",)

    def __init__(self, reason: Any) -> None:
        self.reason = reason


class SystemRequest:
    """A question that the kernel answers in the actor's context (`get_state`): user code takes no part."""

    __slots__ = ("function", "reply_to")

    def __init__(self, function: Callable[[Any], Any], reply_to: Any) -> None:
        self.function = function
        self.reply_to = reply_to


PROXY: Final = frozenset({messages.ProxyCall, messages.ProxyGetAttr, messages.ProxySetAttr})
ActorStop: Final = messages._ActorStop
SPECIAL: Final[frozenset[type]] = (
    frozenset({Envelope, Down, Exit, Info, Signal, SystemRequest, StopRequest, ActorStop}) | PROXY
)
