"""Drivers bring a version to life: the port, and the driver for ordinary child processes and remote servers.

A driver starts, connects, watches and stops one server. Whether and when it is started again is its actor's and its
supervisor's business; containers will be another driver.
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Callable, Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol

from henslowe.actors.endpoints import ByteReader, ByteWriter, Connector, OwnedEndpoint, ServerEvent, SoleClient
from henslowe.actors.ids import InstanceId, VersionKey
from henslowe.actors.instances.environment import command, free_port
from henslowe.actors.instances.output import Output
from henslowe.actors.kernel import OsProcess, Ref
from henslowe.actors.launch import LaunchSpec, Resolve, Wire
from henslowe.errors import HensloweError, InstanceFailed

EXIT_S: Final = 0.5
"""Wait for the exit of a child that closed its pipes, so that the reason can name its status."""
READ_AHEAD_BYTES: Final = 256 * 1024
"""Read from a child's pipe before it is slowed down."""


@dataclass(slots=True, frozen=True)
class StartOrder:
    """Everything a driver needs to start one server.

    `owner` is the actor with which the server's processes end, whatever happens. `on_lost` is called at once, on the
    loop, when the server can take no more calls. `client` makes the connection that client's alone. With `url` a server
    that runs already is connected to, and not started or stopped.
    """

    version: VersionKey
    instance: InstanceId
    launch: LaunchSpec
    root: Path | None
    owner: Ref
    output: Output
    on_server_event: ServerEvent
    on_lost: Callable[[str], None]
    client: SoleClient | None = None
    url: str = ""


class Server(Protocol):
    """One running server."""

    @property
    def endpoint(self) -> OwnedEndpoint:
        """The open connection."""
        ...

    @property
    def pid(self) -> int | None:
        """The process's number; None for a remote one."""
        ...

    @property
    def url(self) -> str:
        """Where it listens; "" on pipes."""
        ...

    async def end(self, reason: str) -> str:
        """After a loss: make sure that it is over, and give the reason as well as it can be known."""
        ...

    async def stop(self, grace_s: float) -> None:
        """Close the connection and end the processes: standard input, then SIGTERM, then SIGKILL. Idempotent."""
        ...


class Driver(Protocol):
    """Starts servers of one kind."""

    async def start(self, order: StartOrder) -> Server:
        """Start, connect and list one server.

        Raises:
            HensloweError: It could not be started; nothing of it is left running.
        """
        ...


@dataclass(slots=True, frozen=True)
class _Pipes:
    """A child with pipes, as `StdioProcess` wants it."""

    pid: int
    stdin: ByteWriter
    stdout: ByteReader


class ProcessDriver:
    """Runs commands as child processes, and connects to remote servers.

    Args:
        connector: Opens MCP connections.
        data_dir: Where each service gets a folder of its own.
        marker: `<node id>:<incarnation>`, by which the next boot finds what was left running.
        headers: By service, what is sent to a remote server with each request.
        secrets: Resolves what variables and headers refer to.
    """

    def __init__(
        self,
        connector: Connector,
        *,
        data_dir: Path,
        marker: str,
        headers: Mapping[str, Mapping[str, str]],
        secrets: Resolve = dict,
    ) -> None:
        self._connector = connector
        self._data_dir = data_dir
        self._marker = marker
        self._headers = headers
        self._secrets = secrets

    async def start(self, order: StartOrder) -> ProcessServer:
        """See `Driver.start`."""
        try:
            return await self._attempt(order)
        except InstanceFailed as failure:
            if not failure.details.get("again"):
                raise
        order.output.forget()
        return await self._attempt(order)

    async def _attempt(self, order: StartOrder) -> ProcessServer:
        launch = order.launch
        data = self._data_dir / "services" / order.version.service
        data.mkdir(parents=True, exist_ok=True, mode=0o700)
        elsewhere = launch.remote or bool(order.url)
        with self._told_of_secrets(order):
            port = 0 if elsewhere else free_port()
            ready = command(launch, order.root, port=port, data=data, secrets=self._secrets)
            headers = self._secrets({**launch.headers, **self._headers.get(order.version.service, {})})
        process = None
        if not elsewhere:
            process = await OsProcess.spawn(
                ready.argv,
                cwd=ready.cwd,
                env=ready.env,
                owner=order.owner,
                stdin=launch.wire is Wire.STDIO,
                marker=self._marker,
                line_bytes_max=READ_AHEAD_BYTES,
            )
        url = order.url or ready.url
        server = ProcessServer(order, process, url)
        try:
            await server.open(self._connect(order, process, url, server, headers))
        except BaseException as failure:
            status = await server.exit_status()
            await server.stop(0.0)
            if isinstance(failure, InstanceFailed):
                raise _told(failure, status, order.output) from failure
            raise
        return server

    @contextmanager
    def _told_of_secrets(self, order: StartOrder) -> Iterator[None]:
        """A secret that is missing or cannot be opened is a failed start that says so."""
        try:
            yield
        except HensloweError as error:
            # With the hint, since what is shown of a failed start is its reason alone.
            told = f"cannot start {order.instance}: {error.message}" + (f"; {error.hint}" if error.hint else "")
            raise InstanceFailed(told, hint=error.hint) from error

    async def _connect(
        self,
        order: StartOrder,
        process: OsProcess | None,
        url: str,
        server: ProcessServer,
        headers: Mapping[str, str],
    ) -> OwnedEndpoint:
        if process is not None and process.stdin is not None and process.stdout is not None:
            return await self._connector.connect_stdio(
                order.version,
                order.instance,
                _Pipes(process.pid, process.stdin, process.stdout),
                on_server_event=order.on_server_event,
                on_closed=server.lost,
                timeout_s=order.launch.ready_timeout_s,
                client=order.client,
            )
        return await self._connector.connect_http(
            order.version,
            order.instance,
            url,
            headers=headers,
            on_server_event=order.on_server_event,
            on_closed=server.lost,
            timeout_s=order.launch.ready_timeout_s,
            client=order.client,
        )


class ProcessServer:
    """A child process or a remote server, implementing `Server`.

    Args:
        order: What was asked for.
        process: The child; None for a server that is not ours to start.
        url: Where it listens; "" on pipes.
    """

    def __init__(self, order: StartOrder, process: OsProcess | None, url: str) -> None:
        self._order = order
        self._process = process
        self.url = url
        self._endpoint: OwnedEndpoint | None = None
        self._exit: asyncio.Task[str] | None = None
        self._readers: list[asyncio.Task[None]] = []
        if process is not None:
            self._exit = asyncio.ensure_future(self._watch(process))
            if process.stderr is not None:
                self._readers.append(asyncio.ensure_future(order.output.follow(process.stderr, "stderr")))
            if process.stdin is None and process.stdout is not None:  # else it is the protocol's
                self._readers.append(asyncio.ensure_future(order.output.follow(process.stdout, "stdout")))

    @property
    def endpoint(self) -> OwnedEndpoint:
        """The open connection."""
        assert self._endpoint is not None
        return self._endpoint

    @property
    def pid(self) -> int | None:
        """The process's number; None for a remote one."""
        return self._process.pid if self._process is not None else None

    async def open(self, connecting: Coroutine[Any, Any, OwnedEndpoint]) -> None:
        """Wait for the connection; give up when the child ends before."""
        opening = asyncio.ensure_future(connecting)
        waiting: set[asyncio.Task[Any]] = {opening}
        if self._exit is not None and self._order.launch.wire is Wire.HTTP:  # pipes tell of the end by themselves
            waiting.add(self._exit)
        try:
            await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
            if not opening.done():
                raise InstanceFailed(f"cannot open {self._order.instance}: it ended before it listened")
            self._endpoint = opening.result()
        finally:
            opening.cancel()
            await asyncio.gather(opening, return_exceptions=True)

    def lost(self, reason: str) -> None:
        """The connection or the process ended."""
        self._order.on_lost(reason)

    async def end(self, reason: str) -> str:
        """After a loss: make sure that it is over, and give the reason as well as it can be known."""
        status = await self.exit_status()
        await self.stop(0.0)
        last = self._order.output.last_line()
        return (f"it {status}" if status else reason) + (f"; it printed: {last}" if last else "")

    async def exit_status(self) -> str:
        """How the child ended, as "exited with status 1", and its last words read; "" when it still runs."""
        if self._exit is None:
            return ""
        await asyncio.wait({self._exit, *self._readers}, timeout=EXIT_S)
        return self._exit.result() if self._exit.done() else ""

    async def stop(self, grace_s: float) -> None:
        """See `Server.stop`."""
        if self._endpoint is not None:
            await self._endpoint.close()
        process = self._process
        if process is not None and process.is_running():
            if process.stdin is not None and grace_s > 0:  # a closed standard input is a stdio server's sign to end
                process.close_stdin()
                assert self._exit is not None
                await asyncio.wait({self._exit}, timeout=grace_s / 2)
                grace_s /= 2
            await process.stop(grace_s)
        tasks = [*self._readers, *([self._exit] if self._exit is not None else [])]
        if tasks:
            await asyncio.wait(tasks, timeout=EXIT_S)  # a grandchild may hold the pipes
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if process is not None:
            process.close_pipes()
        self._order.output.close()

    async def _watch(self, process: OsProcess) -> str:
        returncode = await process.wait()
        status = f"was ended by {_signal_name(-returncode)}" if returncode < 0 else f"exited with status {returncode}"
        if self._endpoint is not None:
            self.lost(f"it {status}")
        return status


def _told(failure: InstanceFailed, status: str, output: Output) -> InstanceFailed:
    """The failure with how the child ended and what it printed last, which is what its developer looks for."""
    message = failure.message + (f"; it {status}" if status else "")
    if last := output.last_line():
        message += f"; it printed: {last}"
    return InstanceFailed(message, hint=failure.hint, **failure.details | {"output": output.tail()})


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
