"""Interceptors: functions inside the node that are awaited before a deployment, an update or a restore, and after it.

    interceptors.register(Interceptor("change-calendar", before=refuse_on_fridays, kinds={Kind.DEPLOY}))

Before, they fail closed: one that raises, or does not end by its deadline, stops what was about to happen. After, they
fail open: what one could not do is told, and nothing is undone. They are called one after another, by `order` and then
by name; after, in the opposite order. A coroutine function runs on the loop, a plain one in a thread of its own, so
that neither holds up the node; one that does not end is left behind at its deadline.

For code that runs in the node, such as plug-ins (`henslowe.extensions`); what runs elsewhere is a hook
(`henslowe.config.hooks`).
"""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final, TypeAlias

from henslowe.actors.bounded import bounded
from henslowe.errors import Conflict, LimitReached, NotFound

log = logging.getLogger(__name__)

INTERCEPTORS_MAX: Final = 100
DEADLINE_S: Final = 10.0


class Kind(StrEnum):
    """What is about to happen."""

    DEPLOY = "deploy"
    """A version of a service that is developed here meets traffic."""
    UPDATE = "update"
    """The same for a service that is run: its command, address or package changed."""
    RESTORE = "restore"
    """A backup takes the place of the data directory."""


@dataclass(slots=True, frozen=True)
class Operation:
    """One thing that is about to happen, or has happened."""

    kind: Kind
    service: str = ""
    version: int = 0
    facts: Mapping[str, Any] = field(default_factory=dict)
    """As hooks get them; of a restore `backup` and `target`."""


Callback: TypeAlias = Callable[[Operation], Awaitable[None] | None]


@dataclass(slots=True, frozen=True)
class Interceptor:
    """What is to be called.

    Attributes:
        name: For people; unique in the node.
        before: Raises to refuse; the message is the reason. None to have nothing asked.
        after: Told afterwards. None for nothing.
        kinds: Of which operations.
        deadline_s: Longest that one call may take.
        order: Smaller ones first.
    """

    name: str
    before: Callback | None = None
    after: Callback | None = None
    kinds: frozenset[Kind] = frozenset(Kind)
    deadline_s: float = DEADLINE_S
    order: int = 0


class Interceptors:
    """The interceptors of a node. Runs in: its loop."""

    def __init__(self) -> None:
        self._all: dict[str, Interceptor] = {}

    def register(self, interceptor: Interceptor) -> Callable[[], None]:
        """Has an interceptor called from now on; the reply ends that.

        Raises:
            Conflict: There is one of that name.
            LimitReached: There are too many.
        """
        if interceptor.name in self._all:
            raise Conflict(f"cannot register the interceptor {interceptor.name!r}: there is one of that name")
        if len(self._all) >= INTERCEPTORS_MAX:
            raise LimitReached(f"cannot register the interceptor {interceptor.name!r}: there are {len(self._all)}")
        self._all[interceptor.name] = interceptor

        def end() -> None:
            if self._all.get(interceptor.name) is interceptor:
                del self._all[interceptor.name]

        return end

    def before_names(self, kind: Kind) -> tuple[str, ...]:
        """Those that are asked before, in the order in which they are."""
        return tuple(each.name for each in self._of(kind) if each.before is not None)

    def after_names(self, kind: Kind) -> tuple[str, ...]:
        """Those that are told after, in the order in which they are."""
        return tuple(each.name for each in reversed(self._of(kind)) if each.after is not None)

    async def ask(self, name: str, operation: Operation) -> None:
        """Ask one of them.

        Raises:
            Conflict: It refused, failed, or did not end in time.
            NotFound: There is none of that name.
        """
        found = self._all.get(name)
        if found is None or found.before is None:
            raise NotFound(f"cannot ask the interceptor {name!r}: it is not registered")
        await _call(found, found.before, operation)

    async def tell(self, name: str, operation: Operation) -> None:
        """Tell one of them. Raises what `ask` raises."""
        found = self._all.get(name)
        if found is None or found.after is None:
            raise NotFound(f"cannot tell the interceptor {name!r}: it is not registered")
        await _call(found, found.after, operation)

    async def before(self, operation: Operation) -> None:
        """Ask all that want to be asked, until one refuses. Raises what `ask` raises."""
        for name in self.before_names(operation.kind):
            await self.ask(name, operation)

    async def after(self, operation: Operation) -> tuple[str, ...]:
        """Tell all that want to be told; what went wrong, in words. Never raises."""
        wrong = []
        for name in self.after_names(operation.kind):
            try:
                await self.tell(name, operation)
            except (Conflict, NotFound) as error:
                log.warning("interceptor_failed", extra={"interceptor": name, "reason": error.message})
                wrong.append(error.message)
        return tuple(wrong)

    def _of(self, kind: Kind) -> list[Interceptor]:
        found = [each for each in self._all.values() if kind in each.kinds]
        return sorted(found, key=lambda each: (each.order, each.name))


async def _call(interceptor: Interceptor, callback: Callback, operation: Operation) -> None:
    """Calls it, and goes on at its deadline whether or not it has ended."""
    what = f"interceptor {interceptor.name!r}"
    try:
        await bounded(callback, operation, deadline_s=interceptor.deadline_s)
    except TimeoutError:
        raise Conflict(
            f"{what} did not answer within {interceptor.deadline_s:g} s", interceptor=interceptor.name
        ) from None
    except Exception as error:
        said = str(error) or type(error).__name__
        raise Conflict(f"{what}: {said}", interceptor=interceptor.name) from error
