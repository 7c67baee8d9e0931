"""Names: one actor per name, freed at death before anybody hears of it; and `Via`, an address by name.

A `Via` finds the present holder each time it is used, so it survives restarts. It keeps no messages for a name
that nobody holds: `up` waits until somebody does.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

from ._control_block import DEAD
from ._exits import ALREADY_STARTED, NOPROC, ActorExit, CallTimeout, StartFailed
from ._gauges import count_dead_letter
from ._info import ActorInfo
from ._ref import Ref
from ._reply import CallFuture, Reply, lifecycle_lock
from ._scheduler import Scheduler


class Registry:
    """Unique names. All methods may be called from any thread."""

    def __init__(self) -> None:
        self._refs: dict[str, Ref] = {}
        self._waiting: dict[str, list[Reply]] = {}

    def refuse_if_taken(self, name: str) -> None:
        """Raises `StartFailed(("already_started", holder))` when a living actor holds the name."""
        holder = self._refs.get(name)
        if holder is not None and holder._state != DEAD:
            raise StartFailed((ALREADY_STARTED, holder), f"cannot register {name}: it is taken by {holder}")

    def register(self, name: str, ref: Ref) -> None:
        """Gives `name` to `ref` until it dies. An actor's first name becomes `ref.name`.

        Raises:
            StartFailed: `("already_started", holder)`: the name is taken.
            ActorExit: `NOPROC`: `ref` is dead.
        """
        with lifecycle_lock:
            self.refuse_if_taken(name)
            if ref._state == DEAD:
                raise ActorExit(NOPROC, f"cannot register {name}: {ref} is dead")
            self._refs[name] = ref
            if ref.name is None:
                ref.name = name
            if ref._on_death is None:
                ref._on_death = []
            ref._on_death.append(lambda: self.unregister(name, ref))
            if not ref._up:
                if ref._on_ready is None:
                    ref._on_ready = []
                ref._on_ready.append(lambda: self._announce(name, ref))
                return
        self._announce(name, ref)

    def unregister(self, name: str, ref: Ref | None = None) -> None:
        """Frees a name; with `ref`, only if that actor holds it."""
        with lifecycle_lock:
            if ref is None or self._refs.get(name) is ref:
                self._refs.pop(name, None)

    def whereis(self, name: str) -> Ref | None:
        """The holder of the name, or None."""
        ref = self._refs.get(name)
        return ref if ref is not None and ref._state != DEAD else None

    def via(self, name: str) -> Via:
        """An address that means whoever holds the name when it is used."""
        return Via(name, self)

    def registered(self) -> list[str]:
        """All names that are held, sorted."""
        return sorted(self._refs)

    def _announce(self, name: str, ref: Ref) -> None:
        with lifecycle_lock:
            waiting = self._waiting.pop(name, ())
        for reply in waiting:
            if not reply.done():
                reply.set(ref)

    def _wait(self, name: str) -> Reply:
        reply = Reply()
        with lifecycle_lock:
            ref = self.whereis(name)
            if ref is None or not ref._up:
                self._waiting.setdefault(name, []).append(reply)
                return reply
        reply.set(ref)
        return reply

    def _forget(self, name: str, reply: Reply) -> None:
        with lifecycle_lock:
            waiting = self._waiting.get(name)
            if waiting is not None and reply in waiting:
                waiting.remove(reply)
                if not waiting:
                    del self._waiting[name]


class Via:
    """An address by name. It has a `Ref`'s ways to send; each use finds the present holder."""

    __slots__ = ("_registry", "name")

    def __init__(self, name: str, registry: Registry) -> None:
        self.name = name
        self._registry = registry

    def __repr__(self) -> str:
        return f"Via({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Via) and (self.name, self._registry) == (other.name, other._registry)

    def __hash__(self) -> int:
        return hash((self.name, id(self._registry)))

    def whereis(self) -> Ref | None:
        """The present holder, or None."""
        return self._registry.whereis(self.name)

    def is_alive(self) -> bool:
        """True when somebody holds the name."""
        return self.whereis() is not None

    def cast(self, message: Any) -> None:
        """As `Ref.cast`; without a holder it is a dead letter."""
        ref = self._registry.whereis(self.name)
        if ref is None:
            count_dead_letter()
        else:
            ref.cast(message)

    def send(self, message: Any) -> None:
        """As `Ref.send`; without a holder it is a dead letter."""
        ref = self._registry.whereis(self.name)
        if ref is None:
            count_dead_letter()
        else:
            ref.send(message)

    def tell(self, message: Any) -> None:
        """As `Ref.tell`. Raises `ActorExit(NOPROC)` without a holder."""
        self._holder().tell(message)

    def ask(self, message: Any, *, block: bool = True, timeout: float | None = None) -> Any:
        """As `Ref.ask`. Raises `ActorExit(NOPROC)` without a holder."""
        return self._holder().ask(message, block=block, timeout=timeout)

    def call(self, message: Any, timeout_s: float | None = 5.0) -> CallFuture:
        """As `Ref.call`; fails with `ActorExit(NOPROC)` without a holder."""
        ref = self._registry.whereis(self.name)
        if ref is not None:
            return ref.call(message, timeout_s)
        future = CallFuture(loop=Scheduler.here().loop)
        future.set_exception(self._noproc())
        return future

    async def up(self, timeout_s: float | None = 5.0) -> Ref:
        """Waits until an actor that has passed `init` holds the name, and gives its ref.

        Raises:
            CallTimeout: Nobody did within `timeout_s` seconds.
        """
        reply = self._registry._wait(self.name)
        try:
            async with asyncio.timeout(timeout_s):
                ref: Ref = await reply
                return ref
        except TimeoutError:
            raise CallTimeout(f"expected an actor named {self.name} within {timeout_s} s, got none") from None
        finally:
            self._registry._forget(self.name, reply)

    def info(self) -> ActorInfo | None:
        """The holder's snapshot, or None."""
        ref = self.whereis()
        return ref.info() if ref is not None else None

    def _holder(self) -> Ref:
        ref = self._registry.whereis(self.name)
        if ref is None:
            raise self._noproc()
        return ref

    def _noproc(self) -> ActorExit:
        return ActorExit(NOPROC, f"no actor is named {self.name}")


names: Final = Registry()
"""The node's names."""
