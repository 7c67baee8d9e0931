"""The built-in stage `mcp-check`: starts the build as an instance would be started, opens it, reads its contract.

It finds what lint and tests do not: a server that prints on the pipe that belongs to the protocol, that never answers,
that ends at once, or that lists a schema nobody can use.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import subprocess
from collections.abc import Awaitable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from henslowe.actors.endpoints import ByteReader, ByteWriter, Connector, Contract, OwnedEndpoint
from henslowe.actors.ids import InstanceId, VersionKey
from henslowe.actors.kernel import OsProcess
from henslowe.actors.launch import LaunchSpec, Wire, server_environment
from henslowe.actors.pipeline.commands import Place, end
from henslowe.actors.pipeline.contract_check import findings
from henslowe.actors.pipeline.environment import cache_folders, fetches
from henslowe.actors.pipeline.example_calls import calls_of, make_calls
from henslowe.actors.pipeline.output import LineReader, StageOutput
from henslowe.config.manifest import Example
from henslowe.errors import HensloweError, InstanceFailed, StageFailed
from henslowe.words import counted

T = TypeVar("T")

STDERR_DRAIN_S: Final = 0.5
GREETING_S: Final = 5.0
"""A server that knows the handshake answers as soon as it has started; one that does not may keep silent."""
GREETING_LINES_MAX: Final = 20
"""Lines in which the answer to `initialize` must come; log notifications may precede it."""
_SHOWN_BYTES: Final = 200


@dataclass(slots=True, frozen=True)
class Checked:
    """What was found."""

    contract: Contract
    era: str
    """The era in which the node will speak with it."""
    protocol_version: str
    server_info: dict[str, Any]
    eras: tuple[str, ...] = ()
    """All eras that it speaks, as far as they were tried."""
    examples: int = 0
    """Example calls that it answered as it should."""

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> Checked:
        """What `dataclasses.asdict` made, after a round trip through JSON."""
        lists = table["contract"]
        contract = Contract(
            tools=tuple(lists["tools"]),
            prompts=tuple(lists["prompts"]),
            resources=tuple(lists["resources"]),
            resource_templates=tuple(lists["resource_templates"]),
            digest=lists["digest"],
        )
        return cls(
            contract,
            table["era"],
            table["protocol_version"],
            table["server_info"],
            tuple(table["eras"]),
            table["examples"],
        )


async def check_server(
    place: Place,
    connector: Connector,
    version: VersionKey,
    launch: LaunchSpec,
    output: StageOutput,
    *,
    examples: Sequence[Example] = (),
) -> Checked:
    """Start, open, list, call by example, and end the server.

    Raises:
        StageFailed: It does not work as an MCP server; the message says why, with what it printed.
    """
    try:
        checked = await _open(place, connector, version, launch, output, examples=examples)
    except InstanceFailed as error:
        if not error.details.get("again"):
            raise StageFailed(error.message, hint=error.hint) from error
        output.forget()
        checked = await _open(place, connector, version, launch, output, examples=examples)
    return checked


async def greets(place: Place, launch: LaunchSpec) -> bool:
    """Whether a stdio server answers `initialize`.

    In a process of its own: the first message decides the era, so one that was asked in the modern way cannot tell.
    """
    process = await _spawn(place, launch, 0, stderr=subprocess.DEVNULL)
    assert process.stdin is not None
    assert process.stdout is not None
    hello = {
        "jsonrpc": "2.0",
        "id": 1,
        "method": "initialize",
        "params": {
            "protocolVersion": "2025-11-25",
            "capabilities": {},
            "clientInfo": {"name": "henslowe", "version": "1"},
        },
    }
    try:
        async with asyncio.timeout(min(launch.ready_timeout_s, GREETING_S)):
            process.stdin.write(json.dumps(hello).encode() + b"\n")
            for _ in range(GREETING_LINES_MAX):
                answer = json.loads(await process.stdout.readuntil())
                if isinstance(answer, dict) and answer.get("id") == 1:
                    return "result" in answer
    except (TimeoutError, ValueError, OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
        return False
    finally:
        await end(process)
        process.close_pipes()
    return False


async def _spawn(place: Place, launch: LaunchSpec, port: int, *, stderr: int = subprocess.PIPE) -> OsProcess:
    data = place.work.tmp / "service-data"
    data.mkdir(exist_ok=True)  # a check must not touch what belongs to the running versions
    try:
        env = server_environment(launch, place.work.src, port=port, data=data, secrets=place.secrets)
    except HensloweError as error:
        raise StageFailed(f"cannot start the server: {error.message}", hint=error.hint) from error
    return await OsProcess.spawn(
        [word.replace("{port}", str(port)) for word in launch.command],
        before=place.caging(cache_folders(env) if fetches(launch.command[0]) else ()),
        cwd=place.work.src,
        env=env,
        owner=place.owner,
        stdin=launch.wire is Wire.STDIO,
        stderr=stderr,
        marker=place.marker,
    )


async def _open(
    place: Place,
    connector: Connector,
    version: VersionKey,
    launch: LaunchSpec,
    output: StageOutput,
    *,
    examples: Sequence[Example],
) -> Checked:
    if launch.remote:
        endpoint = await _connect_http(place, connector, version, launch, launch.url)
        return await _facts(endpoint, output, examples)
    port = _free_port() if launch.wire is Wire.HTTP else 0
    process = await _spawn(place, launch, port)
    assert process.stdout is not None
    assert process.stderr is not None
    readers = [asyncio.ensure_future(output.read("stderr", process.stderr))]
    tap = _Tap(process.stdout)
    try:
        if launch.wire is Wire.STDIO:
            opening = connector.connect_stdio(
                version,
                InstanceId(f"{version}#check"),
                _Piped(process, tap),
                on_server_event=lambda *_: None,
                on_closed=lambda _: None,
                timeout_s=launch.ready_timeout_s,
            )
        else:
            readers.append(asyncio.ensure_future(output.read("stdout", process.stdout)))
            opening = _connect_http(place, connector, version, launch, launch.url.replace("{port}", str(port)))
        endpoint = await _or_exit(opening, process)
        checked = await _or_exit(_facts(endpoint, output, examples), process)
    except HensloweError as error:
        process.kill_tree()
        await asyncio.wait(readers, timeout=STDERR_DRAIN_S)
        if tap.stray:
            raise _stray(tap.stray) from error
        raise
    finally:
        await end(process)
        await asyncio.wait(readers, timeout=STDERR_DRAIN_S)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        process.close_pipes()
    if tap.stray:
        raise _stray(tap.stray)
    return checked


async def _connect_http(
    place: Place, connector: Connector, version: VersionKey, launch: LaunchSpec, url: str
) -> OwnedEndpoint:
    return await connector.connect_http(
        version,
        InstanceId(f"{version}#check"),
        url,
        headers=place.secrets(launch.headers),
        on_server_event=lambda *_: None,
        on_closed=lambda _: None,
        timeout_s=launch.ready_timeout_s,
    )


async def _facts(endpoint: OwnedEndpoint, output: StageOutput, examples: Sequence[Example]) -> Checked:
    facts, contract = endpoint.facts, endpoint.contract
    era = facts.era.value
    try:
        wrong = findings(contract)
        for finding in wrong:
            output.add("note", finding)
        if wrong:
            more = f" (and {len(wrong) - 1} more)" if len(wrong) > 1 else ""
            raise StageFailed(
                f"cannot use what the server lists: {wrong[0]}{more}", hint="correct the server's listing"
            )
        made = await make_calls(endpoint, calls_of(contract, examples))
    finally:
        await endpoint.close()
    return Checked(contract, era, facts.protocol_version, facts.server_info, (era,), made)


async def _or_exit(opening: Awaitable[T], process: OsProcess) -> T:
    """What comes of it; a server that ends meanwhile fails at once, with its exit code."""
    connecting = asyncio.ensure_future(opening)
    exiting = asyncio.ensure_future(process.wait())
    try:
        await asyncio.wait({connecting, exiting}, return_when=asyncio.FIRST_COMPLETED)
        if not connecting.done():
            # its pipes may hold an answer yet, or the reason why the connection fails
            await asyncio.wait({connecting}, timeout=STDERR_DRAIN_S)
        if not connecting.done():
            raise InstanceFailed(f"cannot open the server: it ended with code {exiting.result()}")
        return connecting.result()
    finally:
        for task in (connecting, exiting):
            task.cancel()
        with contextlib.suppress(HensloweError):
            await asyncio.gather(connecting, exiting, return_exceptions=True)


def _stray(line: str) -> StageFailed:
    return StageFailed(
        f"expected only JSON-RPC on standard output, got: {line[:_SHOWN_BYTES]!r}",
        hint="print to standard error instead, for example print(..., file=sys.stderr)",
        line=line,
    )


def summary(checked: Checked) -> str:
    """What was found, in one line."""
    contract = checked.contract
    parts = (("tool", contract.tools), ("prompt", contract.prompts), ("resource", contract.resources))
    counts = ", ".join(counted(len(items), name) for name, items in parts)
    called = f"; {counted(checked.examples, 'example call')} answered" if checked.examples else ""
    return f"{counts}; speaks {checked.protocol_version} ({' and '.join(checked.eras)}){called}"


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class _Tap:
    """A reader that looks at each line on its way to the connection, and remembers the first that is no message."""

    def __init__(self, reader: ByteReader) -> None:
        self._reader = reader
        self._cutter = LineReader(_SHOWN_BYTES)
        self.stray = ""

    async def read(self, n: int = -1) -> bytes:
        return self._see(await self._reader.read(n))

    async def readuntil(self, separator: bytes = b"\n") -> bytes:
        return self._see(await self._reader.readuntil(separator))

    def _see(self, data: bytes) -> bytes:
        if not self.stray:
            lines = self._cutter.feed(data) if data else self._cutter.end()
            self.stray = next((line for line in lines if line.strip() and line.lstrip()[:1] not in "{["), "")
        return data


class _Piped:
    """The process as a connector sees it."""

    def __init__(self, process: OsProcess, stdout: ByteReader) -> None:
        assert process.stdin is not None
        self.pid: int = process.pid
        self.stdin: ByteWriter = process.stdin
        self.stdout: ByteReader = stdout
