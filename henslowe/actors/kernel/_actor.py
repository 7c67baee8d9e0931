"""`GenActor`: what every kind of actor offers to its author: callbacks, services, and ways to start.

The callbacks are `GenServer`'s. Their defaults are pykka's hooks (`on_start`, `on_receive`, `on_stop`,
`on_failure`), so a plain pykka actor works after changing its base class. Not here: how the mailbox is run.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from types import CoroutineType
from typing import Any, ClassVar, Literal

import pykka

from ._control_block import AWAITED, DEAD
from ._exits import KILL, NORMAL, StartFailed, is_clean
from ._messages import Down, MonitorRef
from ._names import names
from ._ref import Ref
from ._reply import Reply, lifecycle_lock
from ._timers import Timer

log = logging.getLogger("henslowe.kernel")


async def _when_started(ref: Ref, started: Reply) -> Ref | None:
    """What `start_link` gives, once the actor is up or dead."""
    try:
        await started
    except asyncio.CancelledError:
        ref.exit(KILL)  # nobody will get the ref
        raise
    return _outcome(ref)


def _outcome(ref: Ref) -> Ref | None:
    if ref._up:
        return ref
    if isinstance(ref.reason, str) and ref.reason == NORMAL:
        return None
    raise StartFailed(ref.reason, f"cannot start {ref}: {ref.reason!r}")


class GenActor(pykka.Actor):
    """Base of the three kinds of actor. Subclass one of those."""

    trap_exit: bool = False
    """True: exit signals arrive as `Exit` in `handle_info`. Set before or in `init`."""
    crash_on_call_error: ClassVar[bool] = True
    """True: an exception in `handle_call` goes to the caller and ends the actor, as in OTP. False: pykka's rule, the
    caller only. A `HensloweError` is an answer in both cases: operating errors go to the caller."""
    mailbox_limit: ClassVar[int | None] = None
    """Largest number of waiting messages; None: no limit. Replies, exits and monitors do not count."""
    mailbox_policy: ClassVar[Literal["raise", "drop", "await"]] = "raise"
    """At the limit, `tell`, `ask` and `call` raise `LimitReached`, or the message becomes a dead letter, or the sender
    waits for its turn (see `Ref.tell_when_room`). `cast` and `send` never raise and never wait."""
    steps_first: ClassVar[bool] = False
    """True: async callbacks run up to their first suspension without a task of their own, which saves most of their
    cost. They may not use what asks for the current task before it (`asyncio.timeout`, `TaskGroup`)."""
    in_pykkas_registry: ClassVar[bool] = False
    """True: known to `pykka.ActorRegistry` while it lives, so that `stop_all`, `broadcast` and `get_by_class` reach it.
    Costs time that grows with the number of actors in there."""
    _ref_class: ClassVar[type[Ref]]
    _bounded_ref_class: ClassVar[type[Ref]]

    def __init__(self, *_args: Any, **_kwargs: Any) -> None:
        # pykka's constructor is not called: see Ref.
        self._actor_ref: Ref = (self._ref_class if self.mailbox_limit is None else self._bounded_ref_class)(self)

    # -- pykka's plumbing --------------------------------------------------------------------------
    @staticmethod
    def _create_future() -> Reply:
        return Reply()

    @staticmethod
    def _create_actor_inbox() -> Any:
        raise NotImplementedError("a Ref is its own inbox")

    def _start_actor_loop(self) -> None:
        raise NotImplementedError("subclass LoopActor, ThreadActor or ProcessActor")

    @property
    def actor_urn(self) -> str:  # type: ignore[override]
        """Pykka's unique name of the actor."""
        return self._actor_ref.actor_urn

    @property
    def actor_inbox(self) -> Any:  # type: ignore[override]
        """Pykka's inbox: the ref."""
        return self._actor_ref

    @property
    def actor_stopped(self) -> Any:  # type: ignore[override]
        """Pykka's event: the ref."""
        return self._actor_ref

    def stop(self) -> None:
        """Ends this actor after the messages that wait already."""
        self._actor_ref.stop(block=False)

    # -- starting ------------------------------------------------------------------------------------
    @classmethod
    def _make(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Ref:
        ref = cls(*args, **kwargs)._actor_ref
        if cls.in_pykkas_registry:
            pykka.ActorRegistry.register(ref)
            ref._on_death = [lambda: pykka.ActorRegistry.unregister(ref)]
        return ref

    @classmethod
    def start(cls, *args: Any, **kwargs: Any) -> Ref:
        """Pykka's way: returns at once; `init` runs in the actor's own context. Runs in: any thread."""
        ref = cls._make(args, kwargs)
        ref._actor._start_actor_loop()
        return ref

    @classmethod
    async def start_link(
        cls, *args: Any, parent: Ref | None = None, name: str | None = None, **kwargs: Any
    ) -> Ref | None:
        """OTP's way: returns after `init`, with the actor linked to `parent` and registered as `name` before `init`.

        Returns:
            The ref; None when `init` returned `IGNORE`.

        Raises:
            StartFailed: `init` failed (its reason), or the name is taken (`("already_started", holder)`).
        """
        begun = cls.begin_link(args, kwargs, parent=parent, name=name)
        ref: Ref | None = await begun if type(begun) is CoroutineType else begun
        return ref

    @classmethod
    def begin_link(
        cls, args: tuple[Any, ...], kwargs: Mapping[str, Any], *, parent: Ref | None = None, name: str | None = None
    ) -> Any:
        """`start_link` that is done at once where `init` is: its result, or a coroutine that will give it.

        For supervisors: a start in one step costs half as much, and nothing gets in between.
        """
        if name is not None:
            names.refuse_if_taken(name)
        ref = cls._make(args, kwargs)
        ref._started = AWAITED
        if name is not None:
            names.register(name, ref)
        if parent is not None:
            ref._parent = parent
            parent.link(ref)
        actor = ref._actor
        if actor is not None:  # else killed by another thread meanwhile
            actor._start_actor_loop()
        with lifecycle_lock:
            if not ref._up and ref._state != DEAD:
                ref._started = started = Reply()
                return _when_started(ref, started)
        return _outcome(ref)

    # -- callbacks -------------------------------------------------------------------------------------
    def init(self) -> Any:
        """Runs first, in the actor's context. Returns None, `Continue(arg)`, `Stop(reason)` or `IGNORE`."""
        return self.on_start()

    def handle_continue(self, arg: Any) -> Any:
        """Runs before any other message when a callback returned `Continue(arg)`."""
        raise NotImplementedError(f"{type(self).__name__} returned Continue({arg!r}) but has no handle_continue")

    def handle_call(self, message: Any, sender: Any) -> Any:  # noqa: ARG002  # for overrides
        """Answers a request: returns the reply, `NOREPLY`, `Stop(reason, reply)` or `Continue(arg, reply)`.

        With `NOREPLY`, keep `sender` and call `sender.set(value)` (or `sender.set_exception(error)`) later.
        """
        return self.on_receive(message)

    def handle_cast(self, message: Any) -> Any:
        """Takes a message that expects no answer. Returns None, `Stop` or `Continue`."""
        return self.on_receive(message)

    def handle_info(self, message: Any) -> Any:
        """Takes everything else: `Down`, `Exit`, timers, `ref.send`. Returns None, `Stop` or `Continue`."""
        log.warning("unexpected_info actor=%s message=%r", self._actor_ref, message)

    def terminate(self, reason: Any) -> Any:
        """Runs last, on every exit but a kill."""
        if is_clean(reason):
            return self.on_stop()
        error = reason if isinstance(reason, BaseException) else None
        return self.on_failure(type(error) if error else None, error, error.__traceback__ if error else None)

    # -- services ----------------------------------------------------------------------------------------
    @property
    def ref(self) -> Ref:
        """This actor's address."""
        return self._actor_ref

    def send_after(self, delay_s: float, message: Any) -> Timer:
        """Delivers `message` to `handle_info` after `delay_s` seconds. The timer ends with the actor."""
        raise NotImplementedError

    def monitor(self, ref: Ref) -> MonitorRef:
        """Delivers `Down(mref, ref, reason)` to `handle_info` when `ref` ends; at once (`NOPROC`) if it has."""
        me = self._actor_ref
        mref = MonitorRef()
        with lifecycle_lock:
            if me._monitors is None:
                me._monitors = set()
            me._monitors.add(mref)

        def gone(_: Ref, reason: Any) -> None:
            if me._state != DEAD:
                me.put(Down(mref, ref, reason))

        mref.cancel = ref.watch(gone)
        return mref

    def demonitor(self, mref: MonitorRef) -> None:
        """Ends a monitor. A `Down` that waits in the mailbox is dropped, too."""
        mref.cancel()
        monitors = self._actor_ref._monitors
        if monitors is not None:
            monitors.discard(mref)

    def link(self, ref: Ref) -> None:
        """Ties this actor's life to another's."""
        self._actor_ref.link(ref)

    def unlink(self, ref: Ref) -> None:
        """Cuts a link. An `Exit` that waits in the mailbox still arrives."""
        self._actor_ref.unlink(ref)
