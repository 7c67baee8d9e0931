"""`OsProcess`: an external command that cannot outlive its owner.

It runs in a session of its own, gets SIGKILL when the node dies, and takes its whole tree with it when it is killed,
when it ends, or when its owning actor ends: also grandchildren that left the session (see `_reaper`). Its exit is
noticed through a pidfd, so no thread and no SIGCHLD handler is involved and asyncio's child watcher is not disturbed.
Not a supervisor: restarting is the owning actor's supervisor's business.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import shutil
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence
from typing import IO, Any, ClassVar, Final

from henslowe.errors import LaunchFailed

from . import _reaper
from ._launcher import ProcessLimits, tag_of, wrap
from ._procfs import read_stat
from ._ref import Ref

LINE_BYTES_MAX: Final = 16 * 1024 * 1024
"""Longest line that `stdout.readline()` gives; also the amount read ahead before the child is slowed down."""
REAP_EVERY_S: Final = 1.0
"""How often adopted orphans are looked at."""
SECOND_LOOK_S: Final = 0.1
"""After an exit, until what it left running is looked for once more."""

_numbers = itertools.count(1)


class OsProcess:
    """A running command. Make one with `await OsProcess.spawn(...)`.

    Attributes:
        pid: The operating system's number.
        id: Unique mark of this process and its descendants (`HENSLOWE_PROC` in their environment).
        stdin: Writer to its standard input; None unless asked for.
        stdout: Reader of its standard output; None when redirected.
        stderr: Reader of its standard error; None when redirected. Unread pipes stop the child when full.
    """

    def __init__(self, child: subprocess.Popen[bytes], process_id: str, loop: asyncio.AbstractEventLoop) -> None:
        self.pid = child.pid
        self.id = process_id
        self.stdin: asyncio.StreamWriter | None = None
        self.stdout: asyncio.StreamReader | None = None
        self.stderr: asyncio.StreamReader | None = None
        self._child = child
        self._loop = loop
        self._ended: asyncio.Future[int] = loop.create_future()
        self._transports: list[asyncio.BaseTransport] = []
        self._forget_owner: Callable[[], None] | None = None
        self._abandoned = False
        self._tag = 0
        self._seen: dict[int, int] = {}  # descendants noticed so far: pid -> start time
        stat = read_stat(child.pid)
        self._start_time = stat.start_time if stat is not None else 0
        self._unconnected = [pipe for pipe in (child.stdin, child.stdout, child.stderr) if pipe is not None]
        self._pidfd = os.pidfd_open(child.pid)
        _reaper.adopt_started(child.pid)
        loop.add_reader(self._pidfd, self._on_exit)

    @classmethod
    async def spawn(
        cls,
        argv: Sequence[str],
        *,
        cwd: str | os.PathLike[str] | None = None,
        env: Mapping[str, str] | None = None,
        owner: Ref | None = None,
        stdin: bool = True,
        stdout: int | IO[Any] = subprocess.PIPE,
        stderr: int | IO[Any] | None = subprocess.PIPE,
        marker: str = "",
        limits: ProcessLimits | None = None,
        before: Sequence[str] = (),
        line_bytes_max: int = LINE_BYTES_MAX,
    ) -> OsProcess:
        """Starts a command. Runs in: the loop of the main thread (the parent-death signal is bound to the thread).

        Args:
            argv: The command; its first word is looked up in the child's PATH.
            cwd: Where it runs.
            env: Its whole environment; None inherits the node's.
            owner: The actor with which the whole tree ends.
            stdin: True opens a pipe; False gives it /dev/null.
            stdout: A pipe, or subprocess.DEVNULL, or a file.
            stderr: As stdout; subprocess.STDOUT joins them, None leaves the node's own.
            marker: `<node id>:<incarnation>`, for the sweep at the next boot.
            limits: Set before the command starts.
            before: Words that are put before the command once it was found: a program that becomes it, or keeps it.
            line_bytes_max: Longest line that the readers give.

        Raises:
            LaunchFailed: The command does not exist or may not be executed, or `cwd` does not exist.
            ActorExit: The owner is dead already.
        """
        if owner is not None and not owner.is_alive():
            raise owner._noproc()
        loop = asyncio.get_running_loop()
        environment = dict(os.environ if env is None else env)
        number = next(_numbers)
        process_id = f"{os.getpid()}-{number}"
        tag = tag_of(number)
        environment[_reaper.PROCESS_VARIABLE] = process_id
        if marker:
            environment[_reaper.NODE_VARIABLE] = marker
        _check(argv, cwd, environment)
        _reaper.become_subreaper()
        try:
            child = subprocess.Popen(  # noqa: ASYNC220  # a millisecond; waiting for it is what is asynchronous
                wrap([*before, *argv], limits, tag),
                cwd=cwd,
                env=environment,
                stdin=subprocess.PIPE if stdin else subprocess.DEVNULL,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            raise LaunchFailed(f"cannot start {argv[0]}: {error}") from error
        process = cls(child, process_id, loop)
        process._tag = tag
        if owner is not None:
            process._forget_owner = owner.watch(process._owner_ended)
            owner._os_pid = process.pid  # for the picture of the tree
        try:
            await process._connect(line_bytes_max)
        except BaseException:  # cancelled while it started: nobody has a handle to end it by
            process._owner_ended(owner, None)
            process.close_pipes()
            raise
        _Housekeeping.running.add(process)
        _Housekeeping.on(loop)
        return process

    async def _connect(self, line_bytes_max: int) -> None:
        child = self._child
        if child.stdin is not None:
            self._unconnected.remove(child.stdin)
            protocol = asyncio.StreamReaderProtocol(asyncio.StreamReader(loop=self._loop), loop=self._loop)
            transport, _ = await self._loop.connect_write_pipe(lambda: protocol, _PipeEnd(child.stdin, self._loop))
            self._transports.append(transport)
            self.stdin = asyncio.StreamWriter(transport, protocol, None, self._loop)
        self.stdout = await self._reader(child.stdout, line_bytes_max)
        self.stderr = await self._reader(child.stderr, line_bytes_max)

    async def _reader(self, pipe: IO[bytes] | None, line_bytes_max: int) -> asyncio.StreamReader | None:
        if pipe is None:
            return None
        self._unconnected.remove(pipe)  # its transport closes it from here on, also when connecting is cancelled
        reader = asyncio.StreamReader(limit=line_bytes_max, loop=self._loop)
        protocol = asyncio.StreamReaderProtocol(reader, loop=self._loop)
        transport, _ = await self._loop.connect_read_pipe(lambda: protocol, _PipeEnd(pipe, self._loop))
        self._transports.append(transport)
        return reader

    # -- life ------------------------------------------------------------------------------------------
    @property
    def returncode(self) -> int | None:
        """The exit status, negative for a signal; None while it runs."""
        return self._child.returncode

    def is_running(self) -> bool:
        """False once its exit was noticed."""
        return not self._ended.done()

    async def wait(self) -> int:
        """Waits for the exit and gives the return code. Output may still wait in the readers."""
        return await asyncio.shield(self._ended)

    async def stop(self, grace_s: float = 2.0) -> int:
        """Ends it: SIGTERM to its process group, then `kill_tree` after `grace_s` seconds. Gives the return code."""
        self.signal_group(signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(grace_s):
                return await self.wait()
        self.kill_tree()
        return await self.wait()

    def signal_group(self, number: int) -> None:
        """Signals every process of its group; nothing when it has ended."""
        if self.is_running():
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, number)

    def kill_tree(self) -> None:
        """Kills it and everything that descends from it. Returns after the signals were sent. Idempotent.

        Runs in: any thread.
        """
        running = self.pid if self.is_running() else None
        if running is not None:
            # Look before killing: a child loses its place in the tree with its parent.
            self._seen |= _reaper.below(running)
            self.signal_group(signal.SIGKILL)
        _reaper.kill_repeatedly(lambda: _reaper.tree_of(running, self.id, self._seen, self._start_time, self._tag))

    def count_tree(self) -> int:
        """How many processes it is now, with all that descend from it; 0 when it has ended. Runs in: any thread."""
        return 1 + len(_reaper.below(self.pid)) if self.is_running() else 0

    def close_stdin(self) -> None:
        """Ends its standard input, which most servers take as the wish that they end."""
        if self.stdin is not None:
            self.stdin.close()

    def _notice_descendants(self) -> None:
        """Remembers who is below it now: one that leaves the session, its environment and its parent is still ours."""
        self._seen = {pid: start for pid, start in self._seen.items() if _reaper.lives(pid, start)}
        self._seen |= _reaper.below(self.pid)

    def _owner_ended(self, _ref: Ref | None, _reason: Any) -> None:
        self._abandoned = True
        self.kill_tree()

    def _on_exit(self) -> None:
        returncode = self._child.poll()
        if returncode is None:  # the pidfd is readable only after the exit; be safe against spurious wake-ups
            return
        _Housekeeping.running.discard(self)
        self._loop.remove_reader(self._pidfd)
        os.close(self._pidfd)
        _reaper.forget_started(self.pid)
        forget, self._forget_owner = self._forget_owner, None
        if forget is not None:
            forget()
        self._ended.set_result(returncode)
        self.kill_tree()  # what it left running
        # One that is just executing another program shows no environment for that moment, and is not recognised.
        self._loop.call_later(SECOND_LOOK_S, self.kill_tree)
        if self._abandoned:  # nobody will read the rest
            self.close_pipes()
        elif self.stdin is not None:
            self.stdin.close()
        _Housekeeping.on(self._loop)

    def close_pipes(self) -> None:
        """Drops what it wrote and nobody has read. Without it the pipes close at the end of their data."""
        for transport in self._transports:
            transport.close()
        for pipe in self._unconnected:
            pipe.close()

    def __repr__(self) -> str:
        state = f"returncode={self.returncode}" if self.returncode is not None else "running"
        return f"<OsProcess {self.pid} {state}>"


class _PipeEnd:
    """A pipe's end as a transport wants it, whose descriptor is closed once.

    asyncio's transports close the file that they are given. uvloop's close the descriptor and the file after it, which
    by then may be another thread's descriptor of the same number; when connecting is cancelled they leave the file to
    the collector. Either closes what belongs to somebody else, and libuv aborts the process when it is the loop's.
    """

    def __init__(self, pipe: IO[bytes], loop: asyncio.AbstractEventLoop) -> None:
        self._fd = os.dup(pipe.fileno())
        self._closed = type(loop).__module__.startswith("uvloop")  # by the transport, not here
        pipe.close()

    def fileno(self) -> int:
        """The descriptor."""
        return self._fd

    def close(self) -> None:
        """Close it, unless the transport does."""
        if not self._closed:
            self._closed = True
            os.close(self._fd)


class _Housekeeping:
    """Once a second while anything runs: notices descendants, reaps adopted orphans. One per process."""

    running: ClassVar[set[OsProcess]] = set()
    _loop: asyncio.AbstractEventLoop | None = None
    _handle: asyncio.TimerHandle | None = None

    @classmethod
    def on(cls, loop: asyncio.AbstractEventLoop) -> None:
        """Comes back soon: something has started or ended."""
        if cls._loop is not loop:
            cls.running = {process for process in cls.running if process._loop is loop}
        if cls._loop is not loop or cls._handle is None:
            cls._loop = loop
            cls._handle = loop.call_later(REAP_EVERY_S / 20, cls._tick)

    @classmethod
    def _tick(cls) -> None:
        for process in cls.running:
            process._notice_descendants()
        left = _reaper.reap_orphans()
        loop, cls._handle = cls._loop, None
        if loop is not None and (left or cls.running):
            cls._handle = loop.call_later(REAP_EVERY_S, cls._tick)


def _check(argv: Sequence[str], cwd: str | os.PathLike[str] | None, env: Mapping[str, str]) -> None:
    """Finds mistakes before a wrapper hides them."""
    if not argv:
        raise LaunchFailed("expected a command, got none")
    if cwd is not None and not os.path.isdir(cwd):  # noqa: PTH112
        raise LaunchFailed(f"cannot start {argv[0]}: {os.fspath(cwd)} is not a folder", hint="check cwd")
    program = argv[0]
    if os.sep in program:
        candidate = os.path.join(cwd or "", program)
        found: str | None = candidate if os.access(candidate, os.X_OK) and os.path.isfile(candidate) else None  # noqa: PTH113
    else:
        found = shutil.which(program, path=env.get("PATH", os.defpath))
    if found is None:
        raise LaunchFailed(
            f"cannot start {program}: no such executable",
            hint=f"install {program}, or give its full path in the command",
        )
