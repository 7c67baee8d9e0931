"""`ProcessActor`: an actor whose callbacks run in a Python process of their own.

For work that keeps a processor busy, may crash the interpreter, or is not trusted. It is the only kind whose kill is
exact: the process group and everything below it is gone, whatever it was doing. In the node it is a loop actor that
passes each message through a pipe and waits, so mailbox order, calls, links and supervision are the same as for any
other actor. Callbacks are plain functions; messages, arguments and replies are pickled; `NOREPLY` and the services
(`send_after`, `monitor`, `link`) are not available in the child. For commands that are not Python: `OsProcess`.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Mapping
from typing import Any, ClassVar, Final

from ._actor import GenActor
from ._exits import ActorExit
from ._frames import HEADER, Wire, body_size, decode, decode_error, encode
from ._loop_actor import BoundedLoopRef, LoopActor
from ._loop_ref import LoopRef
from ._messages import IGNORE, Continue, Down, Exit, Stop
from ._os_process import OsProcess
from ._ref import Ref

_BOOT: Final = (
    "import sys, json; sys.path[:] = json.loads(sys.argv[1]); "
    "from henslowe.actors.kernel._process_child import main; main()"
)


class ProcessRef(LoopRef):
    """The mailbox of a process actor, in the node."""

    kind = "process"
    __slots__ = ()


class BoundedProcessRef(BoundedLoopRef, ProcessRef):
    """The same with a limit."""

    __slots__ = ()


class _ChildRef(Ref):
    """What `self.ref` is inside the child: a name to print, not an address."""

    __slots__ = ()

    def put(self, _item: Any, /) -> None:
        raise RuntimeError("cannot send from a process actor's child: return a result instead")


class ProcessActor(GenActor):
    """An actor in a child process. Its class must be importable by name (not from `__main__`)."""

    wire: ClassVar[Wire] = "pickle"
    """How replies come back. Choose "msgpack" (plain data only) where the child runs code that you do not trust."""
    marker: ClassVar[str] = ""
    """`<node id>:<incarnation>` for the sweep at boot. Empty: taken from the node's own environment."""
    _ref_class: ClassVar[type[Ref]] = _ChildRef
    _bounded_ref_class: ClassVar[type[Ref]] = _ChildRef

    @classmethod
    def _make(cls, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Ref:
        if cls.__module__ == "__main__" or "<locals>" in cls.__qualname__:
            raise TypeError(f"expected {cls.__qualname__} in an importable module, as its child process imports it")
        return _Shell(cls, args, kwargs).ref


class _Shell(LoopActor):
    """The node's side: one message to the child at a time."""

    _ref_class: ClassVar[type[Ref]] = ProcessRef
    _bounded_ref_class: ClassVar[type[Ref]] = BoundedProcessRef

    def __init__(self, cls: type[ProcessActor], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
        self.mailbox_limit = cls.mailbox_limit  # type: ignore[misc]  # the author's choice, per class
        super().__init__()
        self.ref.actor_class = cls
        self.trap_exit = cls.trap_exit
        self._cls, self._args, self._kwargs = cls, args, kwargs
        self._process: OsProcess | None = None
        self._waiting: asyncio.Future[tuple[str, Any]] | None = None
        self._reader: asyncio.Task[None] | None = None
        self._broken = False  # a callback was cut off, so the pipe is out of step

    async def init(self) -> Any:
        argv = [sys.executable, "-c", _BOOT, json.dumps(sys.path), self._cls.wire]
        self._process = process = await OsProcess.spawn(argv, owner=self.ref, stderr=None, marker=self._cls.marker)
        self.ref._os_pid = process.pid
        self._reader = asyncio.get_running_loop().create_task(self._read(process))
        await self._ask("new", (self._cls.__module__, self._cls.__qualname__, self._args, self._kwargs))
        return await self._ask("init", None)

    async def handle_continue(self, arg: Any) -> Any:
        return await self._ask("handle_continue", arg)

    async def handle_call(self, message: Any, _sender: Any) -> Any:
        return await self._ask("handle_call", message)

    async def handle_cast(self, message: Any) -> Any:
        return await self._ask("handle_cast", message)

    async def handle_info(self, message: Any) -> Any:
        if type(message) is _ChildEnded:
            return Stop(message.reason)
        if isinstance(message, Exit | Down):  # refs mean nothing over there
            message = (type(message).__name__, message.ref.info() if message.ref else None, message.reason)
        return await self._ask("handle_info", message)

    async def terminate(self, reason: Any) -> None:
        process = self._process
        if process is None:
            return
        if process.is_running() and not self._broken:
            await self._ask("terminate", reason if isinstance(reason, str | tuple) else repr(reason))
            process.close_stdin()
        else:
            process.kill_tree()
        await process.wait()
        process.close_pipes()

    async def _ask(self, kind: str, payload: Any) -> Any:
        """Runs one callback in the child and gives its result."""
        process = self._process
        assert process is not None
        assert process.stdin is not None
        if not process.is_running() or self._broken:
            raise ActorExit(("child_exited", process.returncode))
        frame = encode((kind, payload), "pickle")
        self._waiting = asyncio.get_running_loop().create_future()
        try:
            process.stdin.write(frame)
            outcome, value = await self._waiting
        except asyncio.CancelledError:
            self._broken = True
            raise
        finally:
            self._waiting = None
        if outcome == "error":
            raise decode_error(value)
        if outcome == "ignore":
            return IGNORE
        if outcome == "stop":
            return Stop(*value)
        return Continue(*value) if outcome == "continue" else value

    async def _read(self, process: OsProcess) -> None:
        """Hands answers over. At the end of the pipe the child is gone, and so is the actor."""
        assert process.stdout is not None
        try:
            while True:
                raw = await process.stdout.readexactly(body_size(await process.stdout.readexactly(HEADER.size)))
                answer = decode(raw, self._cls.wire)
                if self._waiting is not None and not self._waiting.done():
                    self._waiting.set_result((answer[0], answer[1]))
        except (asyncio.IncompleteReadError, OSError):
            reason: tuple[str, Any] = ("child_exited", await process.wait())
        except Exception as error:  # noqa: BLE001  # a frame that cannot be read: the child is out of its mind
            process.kill_tree()
            reason = ("child_confused", repr(error))
        self._broken = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(ActorExit(reason))
        elif self.ref.is_alive():
            self.ref.send(_ChildEnded(reason))


class _ChildEnded:
    __slots__ = ("reason",)

    def __init__(self, reason: Any) -> None:
        self.reason = reason
