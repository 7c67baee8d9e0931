"""Load: MCP SDK clients of both eras that call a tool at a bounded rate and remember everything that went wrong.

    async with Load(url, clients=8, calls_per_s=40) as load:
        ...                                    # edit, kill, promote
        await load.more_calls(50)
    assert load.tally.failures == []

A client keeps one session for as long as it lives. A *patient* client's HTTP library tries again while nobody listens
and when a connection breaks, as a client must that wants to outlive a restart of the node; everything above it, the
session included, knows nothing of that.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Any, Final, Self

import httpx2
import mcp_types
from mcp import Client
from mcp.client.streamable_http import streamable_http_client
from mcp.client.subscriptions import SubscriptionLost, ToolsListChanged
from mcp.shared.exceptions import MCPError

LEGACY: Final = "legacy"
MODERN: Final = "2026-07-28"
ERAS: Final = (LEGACY, MODERN)
CALL_TIMEOUT_S: Final = 30.0
STREAM_SILENCE_S: Final = 300.0
RETRY_S: Final = 0.1
LATENCIES_MAX: Final = 100_000


@dataclass(slots=True, frozen=True)
class Failure:
    """One call that did not give what it should, or one session that ended by itself."""

    at_s: float
    """Since the load began."""
    client: int
    era: str
    what: str


@dataclass(slots=True)
class Tally:
    """What all clients of a load met."""

    calls: int = 0
    failures: list[Failure] = field(default_factory=list)
    sessions_opened: int = 0
    sessions_lost: int = 0
    retries: int = 0
    """Requests that patient clients sent again."""
    list_changed: Counter[int] = field(default_factory=Counter)
    """Notifications that the tools changed, by client."""
    answers: Counter[str] = field(default_factory=Counter)
    """Texts of the results: which version answered how often."""
    tools: dict[int, frozenset[str]] = field(default_factory=dict)
    """The tools that each client saw when it listed last."""
    latencies_s: deque[float] = field(default_factory=lambda: deque(maxlen=LATENCIES_MAX))
    gap_s_max: float = 0.0
    """Longest time without any successful call."""

    def latency_ms(self, quantile: float) -> float:
        """A quantile of the latencies of the last calls."""
        ordered = sorted(self.latencies_s)
        return 1_000 * ordered[min(len(ordered) - 1, int(quantile * len(ordered)))] if ordered else 0.0


class Load:
    """Clients that call until the block ends. Leaving it waits for the calls in flight.

    Args:
        url: An MCP endpoint.
        clients: How many, of the eras in turn.
        calls_per_s: Of all clients together; a client that is late does not catch up.
        tool: Called with `arguments`.
        expected: Whether a result's text is right.
        eras: `mode` arguments of the SDK's client.
        patient: Whether the clients' HTTP library tries again when the node is away.
    """

    def __init__(
        self,
        url: str,
        *,
        clients: int = 8,
        calls_per_s: float = 20.0,
        tool: str = "greet",
        arguments: dict[str, Any] | None = None,
        expected: Callable[[str], bool] = lambda text: "Ada" in text,
        eras: tuple[str, ...] = ERAS,
        patient: bool = False,
    ) -> None:
        self.tally = Tally()
        self._url = url
        self._clients = clients
        self._interval_s = clients / calls_per_s
        self._tool = tool
        self._arguments = arguments if arguments is not None else {"name": "Ada"}
        self._expected = expected
        self._eras = eras
        self._patient = patient
        self._stop = asyncio.Event()
        self._progress = asyncio.Condition()
        self._tasks: list[asyncio.Task[None]] = []
        self._began_s = 0.0
        self._last_success_s = 0.0

    async def __aenter__(self) -> Self:
        self._began_s = self._last_success_s = time.monotonic()
        self._tasks = [
            asyncio.create_task(self._client(n, self._eras[n % len(self._eras)])) for n in range(self._clients)
        ]
        try:
            await self._wait(lambda: self.tally.sessions_opened >= self._clients, "all clients to be connected")
            self._last_success_s, self.tally.gap_s_max = time.monotonic(), 0.0  # connecting is no gap
        except BaseException:
            await self._end()
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._end()

    async def more_calls(self, count: int, timeout_s: float = 60.0) -> None:
        """Returns after `count` more successful calls."""
        goal = sum(self.tally.answers.values()) + count
        await self._wait(lambda: sum(self.tally.answers.values()) >= goal, f"{count} more calls", timeout_s)

    async def until(self, holds: Callable[[Tally], object], what: str, timeout_s: float = 30.0) -> None:
        """Returns as soon as the tally satisfies `holds`."""
        await self._wait(lambda: holds(self.tally), what, timeout_s)

    # -- one client ----------------

    async def _client(self, number: int, era: str) -> None:
        while not self._stop.is_set():
            try:
                async with AsyncExitStack() as stack:
                    client = await self._connect(stack, number, era)
                    self.tally.sessions_opened += 1
                    if era != LEGACY:
                        listening = asyncio.create_task(self._listen(number, client))
                        stack.push_async_callback(_cancelled, listening)
                    await self._note()
                    await self._call_until_stopped(number, era, client)
            except Exception as error:  # the report is the point: whatever ends a session counts against the node
                self.tally.sessions_lost += 1
                self._failed(number, era, f"session ended: {_named(error)}")
                await self._note()
                await asyncio.sleep(RETRY_S)

    async def _connect(self, stack: AsyncExitStack, number: int, era: str) -> Client:
        async def handler(message: Any) -> None:
            if isinstance(message, mcp_types.ToolListChangedNotification):
                self.tally.list_changed[number] += 1

        server: Any = self._url
        if self._patient:
            timeout = httpx2.Timeout(CALL_TIMEOUT_S, read=STREAM_SILENCE_S)
            http = httpx2.AsyncClient(transport=_PatientTransport(self), timeout=timeout)
            server = streamable_http_client(self._url, http_client=await stack.enter_async_context(http))
        return await stack.enter_async_context(Client(server, mode=era, message_handler=handler, cache=None))

    async def _listen(self, number: int, client: Client) -> None:
        """A modern client's change stream, opened again whenever it ends."""
        while True:
            with contextlib.suppress(SubscriptionLost, MCPError):
                async with client.listen(tools_list_changed=True) as stream:
                    async for event in stream:
                        if isinstance(event, ToolsListChanged):
                            self.tally.list_changed[number] += 1
            await asyncio.sleep(RETRY_S)

    async def _call_until_stopped(self, number: int, era: str, client: Client) -> None:
        # Spread over the interval, so that clients do not call in step.
        due_s = time.monotonic() + self._interval_s * number / self._clients
        listed_after = -1
        while not await self._stopped_before(due_s):
            due_s = max(due_s + self._interval_s, time.monotonic())
            if listed_after != (listed_after := self.tally.list_changed[number]):
                listing = await client.list_tools(cache_mode="bypass")
                self.tally.tools[number] = frozenset(tool.name for tool in listing.tools)
            await self._call(number, era, client)

    async def _call(self, number: int, era: str, client: Client) -> None:
        self.tally.calls += 1
        began_s = time.monotonic()
        try:
            result = await client.call_tool(self._tool, self._arguments, read_timeout_seconds=CALL_TIMEOUT_S)
        except Exception as error:
            self._failed(number, era, f"call: {_named(error)}")
            await self._note()
            if "terminated" in str(error) or not isinstance(error, MCPError):
                raise
            return
        now_s = time.monotonic()
        text = " ".join(getattr(block, "text", "") for block in result.content)
        if result.is_error or not self._expected(text):
            self._failed(number, era, f"unexpected result: {text[:500]!r}")
        else:
            self.tally.answers[text] += 1
            self.tally.latencies_s.append(now_s - began_s)
            self.tally.gap_s_max = max(self.tally.gap_s_max, now_s - self._last_success_s)
            self._last_success_s = now_s
        await self._note()

    # -- waiting ----------------

    async def _stopped_before(self, due_s: float) -> bool:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._stop.wait(), max(0.0, due_s - time.monotonic()))
        return self._stop.is_set()

    async def _note(self) -> None:
        async with self._progress:
            self._progress.notify_all()

    async def _wait(self, holds: Callable[[], object], what: str, timeout_s: float = 30.0) -> None:
        try:
            async with asyncio.timeout(timeout_s), self._progress:
                await self._progress.wait_for(lambda: bool(holds()))
        except TimeoutError:
            raise AssertionError(f"expected {what} within {timeout_s} s; {self.tally}") from None

    async def _end(self) -> None:
        self._stop.set()
        _, late = await asyncio.wait(self._tasks, timeout=CALL_TIMEOUT_S)
        for task in late:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _failed(self, number: int, era: str, what: str) -> None:
        self.tally.failures.append(Failure(round(time.monotonic() - self._began_s, 3), number, era, what))


class _PatientTransport(httpx2.AsyncHTTPTransport):
    """Sends a request again while nobody listens or the connection breaks before the response began."""

    def __init__(self, load: Load) -> None:
        super().__init__()
        self._load = load

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        give_up_s = time.monotonic() + CALL_TIMEOUT_S
        while True:
            try:
                return await super().handle_async_request(request)
            except (httpx2.NetworkError, httpx2.RemoteProtocolError):
                if time.monotonic() > give_up_s or self._load._stop.is_set():
                    raise
                self._load.tally.retries += 1
                await asyncio.sleep(RETRY_S)


def _named(error: BaseException) -> str:
    """The innermost causes of an error, in words: the SDK wraps them in groups."""
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(_named(inner) for inner in error.exceptions)
    return f"{type(error).__name__}: {error}"


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError, Exception):
        await task


@contextlib.asynccontextmanager
async def client(url: str, era: str) -> AsyncIterator[Client]:
    """One SDK client without a cache."""
    async with Client(url, mode=era, cache=None) as connected:
        yield connected
