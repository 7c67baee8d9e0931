"""The link over a child's pipes: newline-delimited JSON-RPC, shared by any number of callers.

Ids and progress tokens are the link's own, so callers cannot meet each other's. The process itself belongs to whoever
started it; the link only reads and writes. A server's own requests are `asked`'s business.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from typing import Final

from henslowe.actors.endpoints import ByteReader, ByteWriter, Era, JsonObject, OnNotification, OnRequest
from henslowe.errors import HensloweError, InstanceFailed, LimitReached, UpstreamLost
from henslowe.transport.mcp import eras, jsonrpc, large_json
from henslowe.transport.mcp.asked import Asked
from henslowe.transport.mcp.begun import Begun, Told
from henslowe.transport.mcp.deadlines import Deadlines
from henslowe.transport.mcp.large_json import LongLine
from henslowe.transport.mcp.lines import LineCutter, TooLong
from henslowe.transport.mcp.link import NEVER_CANCELLED, NO_HEADERS, STREAMS, too_large, with_own_token, with_token
from henslowe.transport.mcp.stdio_begun import Call, StdioBegun

log = logging.getLogger(__name__)

READ_BYTES: Final = 64 * 1024
"""One read, and so much of a flood as may come between the calls of others; a pipe holds as much."""
LINES_AT_ONCE: Final = 8
"""Taken of one read before others have their turn: each may wake a call, and a whole pipe of answers wakes hundreds."""
WOKEN_AT_ONCE: Final = 2
"""Tasks woken by what was read, before others have their turn: each may take 0.3 ms, and let another one begin."""
WRITTEN_AHEAD: Final = 64 * 1024
"""Bytes written before it is seen whether the child reads them; as many again may wait in its pipe."""
UNASKED_PER_S: Final = 5_000.0
"""Lines that answer nothing (notifications, what is not JSON-RPC), on average, before a child is read more slowly."""
UNASKED_BURST: Final = 10_000.0
LOOKED_AT_BYTES: Final = 4 * 1024
"""Of a long line that is not JSON-RPC."""
GARBAGE_LOGGED: Final = 10
"""Lines that are not JSON-RPC and logged each; of more than these every one whose number is a power of two."""


class StdioLink:
    """One child's standard input and output as a `Link`.

    Args:
        stdin: Where the child reads.
        stdout: Where the child writes.
        peer: The child's name for messages, for example `hello@3#1`.
        on_event: Called with each notification that belongs to no exchange.
        on_closed: Called once, with the reason, when the connection ends without `close`.
        on_request: Answers the server's own requests.
        in_flight_max: Most exchanges at once.
        message_bytes_max: Longest line accepted; a longer one is skipped and its call answered with an error.
    """

    needs_headers = False

    def __init__(
        self,
        stdin: ByteWriter,
        stdout: ByteReader,
        *,
        peer: str,
        on_event: Callable[[JsonObject], None],
        on_closed: Callable[[str], None],
        on_request: OnRequest,
        in_flight_max: int,
        message_bytes_max: int,
    ) -> None:
        self._stdin = stdin
        self._stdout = stdout
        self._peer = peer
        self._on_event = on_event
        self._on_closed = on_closed
        self._in_flight_max = in_flight_max
        self._message_bytes_max = message_bytes_max
        self._loop = asyncio.get_running_loop()
        self._calls: dict[int, Call] = {}
        self._last_id = 0
        self._deadlines = Deadlines(self._loop)
        self._outbox: list[tuple[Call | None, bytes]] = []
        self._written = 0
        """Bytes since it was last seen that the child reads."""
        self._draining: asyncio.Task[None] | None = None
        self._asked = Asked(on_request, self._send, peer)
        self._end: HensloweError | None = None
        self._opening = True
        self.garbage_lines = 0
        """Lines on standard output that were not JSON-RPC, since the server was opened."""
        self._woken = 0
        """Tasks, since others had their turn."""
        self._unasked_left = UNASKED_BURST
        self._unasked_at_s = self._loop.time()
        self._reader = asyncio.ensure_future(self._read())

    @property
    def in_flight(self) -> int:
        """Exchanges that have not ended."""
        return len(self._calls)

    def speak(self, era: Era, protocol_version: str) -> None:
        """Nothing to do: on pipes the messages themselves carry the era."""

    def opened(self) -> None:
        """The handshake is over: from now on a line that is not JSON-RPC is logged and ignored, not the end."""
        self._opening = False

    async def exchange(
        self,
        method: str,
        params: JsonObject | None,
        *,
        timeout_s: float,
        headers: Mapping[str, str] = NO_HEADERS,  # noqa: ARG002 - pipes have no headers
        on_notification: OnNotification | None = None,
    ) -> JsonObject:
        """See `Link.exchange`."""
        if self._end is not None:
            raise self._lost(sent=False)
        if len(self._calls) >= self._in_flight_max:
            raise LimitReached(
                f"cannot call {self._peer}: {self._in_flight_max} calls are in flight",
                hint="raise instances.in_flight_max, or slow the clients down",
            )
        number = self._last_id = self._last_id + 1
        sent_params, token = with_token(params, number)
        line = jsonrpc.request(number, method, sent_params) + b"\n"
        reply: asyncio.Future[JsonObject] = self._loop.create_future()
        call = self._calls[number] = Call(method, reply, on_notification, token)
        self._put(call, line)
        try:
            answer: JsonObject = await self._deadlines.wait(reply, timeout_s)
        except (TimeoutError, asyncio.CancelledError):
            self.given_up(number)
            raise
        finally:
            del self._calls[number]
        return answer

    def begin(
        self,
        method: str,
        params: JsonObject | None,
        *,
        timeout_s: float,
        headers: Mapping[str, str],  # noqa: ARG002 - pipes have no headers
        on_notification: OnNotification | None,
        told: Told,
    ) -> Begun | None:
        """See `Link.begin`."""
        if self._end is not None or len(self._calls) >= self._in_flight_max:
            return None
        number = self._last_id + 1
        line = jsonrpc.request(number, method, params) + b"\n"
        self._last_id = number
        begun = StdioBegun(self, number, told)
        call = self._calls[number] = Call(method, begun, on_notification, None)
        self._put(call, line)
        self._deadlines.add(begun, self._loop.time() + timeout_s)
        return begun

    def given_up(self, number: int) -> None:
        """Nobody waits for an answer any more: a server that was asked is told so."""
        call = self._calls.get(number)
        if call is not None and call.sent and call.method not in NEVER_CANCELLED:
            self.notify("notifications/cancelled", {"requestId": number})

    def over(self, number: int, begun: StdioBegun) -> None:
        """An exchange without a task has ended."""
        self._calls.pop(number, None)
        self._deadlines.remove(begun)

    def notify(self, method: str, params: JsonObject | None) -> None:
        """Send a notification; dropped when the connection is gone or the child does not read."""
        if self._end is None and self._draining is None:
            self._put(None, jsonrpc.notification(method, params) + b"\n")

    async def close(self) -> None:
        """End every exchange with `UpstreamLost` and close the child's standard input, its sign to end. Idempotent."""
        self._finish(UpstreamLost(f"cannot call {self._peer}: the connection was closed"))
        self._deadlines.close()
        tasks = [self._reader] if self._draining is None else [self._reader, self._draining]
        for task in tasks:
            task.cancel()
        self._stdin.close()
        await asyncio.gather(*tasks, self._asked.close(), return_exceptions=True)

    # -- writing ----------------

    def _put(self, call: Call | None, line: bytes) -> None:
        """Write a line together with all others of this turn of the loop, as soon as the child reads."""
        if not self._outbox and self._draining is None:
            self._loop.call_soon(self._write)
        self._outbox.append((call, line))

    def _write(self) -> None:
        if self._end is not None:
            return
        if self._stdin.is_closing():
            self._ended("it does not read its standard input any more")
            return
        lines: list[bytes] = []
        for call, line in self._outbox:
            if call is None:
                lines.append(line)
            elif not call.reply.done():  # its caller may have given up
                call.sent = True
                lines.append(line)
        self._outbox.clear()
        data = lines[0] if len(lines) == 1 else b"".join(lines)
        self._stdin.write(data)
        self._written += len(data)
        if self._written > WRITTEN_AHEAD:
            self._draining = self._loop.create_task(self._drain())

    async def _drain(self) -> None:
        """Wait until the child has read enough of what was written, or the connection ends."""
        try:
            await self._stdin.drain()
        except (ConnectionError, RuntimeError) as cause:
            self._ended(f"it does not read its standard input any more ({cause or type(cause).__name__})")
        self._written = 0
        self._draining = None
        if self._outbox:
            self._write()

    async def _send(self, message: bytes) -> None:
        self._put(None, message + b"\n")

    # -- reading ----------------

    async def _read(self) -> None:
        cutter = LineCutter(self._message_bytes_max)
        try:
            while data := await self._stdout.read(READ_BYTES):
                for number, line in enumerate(cutter.feed(data), 1):
                    if isinstance(line, TooLong):
                        self._too_long(line)
                    else:
                        self._line(line)
                    if not number % LINES_AT_ONCE or self._woken >= WOKEN_AT_ONCE:
                        self._woken = 0
                        await asyncio.sleep(0)
                if self._unasked_left < 0:
                    # The child waits at its full pipe; who shares the node does not wait for the child.
                    await asyncio.sleep(self._unasked_pause_s())
            self._ended("it closed its standard output")
        except (ConnectionError, OSError) as cause:
            self._ended(f"its standard output cannot be read: {cause}")
        finally:
            if self._end is None:
                self._ended("reading from it stopped")

    def _unasked_pause_s(self) -> float:
        """How long to leave a child alone that said more than it may; none once its allowance is made up."""
        now_s = self._loop.time()
        earned = (now_s - self._unasked_at_s) * UNASKED_PER_S
        self._unasked_left, self._unasked_at_s = min(UNASKED_BURST, self._unasked_left + earned), now_s
        return max(0.0, -self._unasked_left / UNASKED_PER_S)

    def _line(self, line: bytes | LongLine) -> None:
        try:
            received = jsonrpc.messages(line)
        except ValueError:
            self._unasked_left -= 1
            text = bytes(line.data[:LOOKED_AT_BYTES]) if isinstance(line, LongLine) else line
            if text and not text.isspace():
                self._garbage(text)
            return
        if isinstance(line, LongLine):
            received = [large_json.plain(message) if "method" in message else message for message in received]
        for message in received:
            if "method" not in message:
                self._response(message, len(line))
            elif "id" in message:
                self._asked.take(message)
            else:
                self._unasked_left -= 1
                self._notification(message)

    def _call(self, number: object) -> Call | None:
        return self._calls.get(number) if type(number) is int else None

    def _response(self, message: JsonObject, size: int) -> None:
        call = self._call(message.get("id"))
        # Late answers to cancelled calls find nobody, which is right.
        if call is not None and not call.reply.done():
            if isinstance(call.reply, StdioBegun):
                call.reply.size = size
            else:
                self._woken += 1
            call.reply.set_result(jsonrpc.answer_of(message))

    def _notification(self, message: JsonObject) -> None:
        method, params = message["method"], message.get("params")
        if method == "notifications/cancelled":
            self._asked.withdrawn(params)
            return
        if isinstance(params, dict):
            if method == "notifications/progress":
                call = self._call(params.get("progressToken"))
                if call is not None and call.on_notification is not None and call.token is not None:
                    call.on_notification(with_own_token(message, call.token))
                return
            meta = params.get("_meta")
            if isinstance(meta, dict) and eras.SUBSCRIPTION_ID_META in meta:
                call = self._call(meta[eras.SUBSCRIPTION_ID_META])
                if call is not None and call.on_notification is not None:
                    call.on_notification(message)
                return
        if method == "notifications/message" and (call := self._only_call()) is not None:
            call.on_notification(message)  # type: ignore[misc]
            return
        self._on_event(message)

    def _only_call(self) -> Call | None:
        """Pipes do not say which call a log line belongs to; with one call in flight it is that one's."""
        calls = [call for call in self._calls.values() if call.method not in STREAMS]
        return calls[0] if len(calls) == 1 and calls[0].on_notification is not None else None

    def _too_long(self, line: TooLong) -> None:
        log.warning("message_too_long", extra={"peer": self._peer, "bytes": line.length})
        call = self._call(line.response_id)
        if call is not None and not call.reply.done():
            call.reply.set_result(too_large(self._message_bytes_max))

    def _garbage(self, line: bytes) -> None:
        text = line[:200].decode(errors="replace").strip()
        if self._opening:
            self._fail(
                InstanceFailed(
                    f"expected JSON-RPC on the standard output of {self._peer}, got: {text!r}",
                    hint="a stdio server's standard output belongs to the protocol: print to standard error instead",
                )
            )
            return
        self.garbage_lines += 1
        if self.garbage_lines > GARBAGE_LOGGED and self.garbage_lines & (self.garbage_lines - 1):
            return
        log.warning("stdout_not_json", extra={"peer": self._peer, "line": text, "count": self.garbage_lines})

    def _ended(self, why: str, *, hint: str = "") -> None:
        self._fail(UpstreamLost(f"cannot call {self._peer}: {why}", hint=hint))

    def _fail(self, error: HensloweError) -> None:
        """The connection ends by itself: everyone who waits, and the owner, are told."""
        if self._end is None:
            self._finish(error)
            self._on_closed(error.message)

    def _finish(self, error: HensloweError) -> None:
        if self._end is None:
            self._end = error
            for call in tuple(self._calls.values()):  # who is told may give a call up at once
                if not call.reply.done():
                    call.reply.set_exception(self._lost(sent=call.sent))
                    call.reply.exception()  # marks it as seen: a caller still in `drain` finds it there

    def _lost(self, *, sent: bool) -> HensloweError:
        end = self._end
        assert end is not None
        if isinstance(end, UpstreamLost):
            return UpstreamLost(end.message, hint=end.hint, sent=sent)
        return type(end)(end.message, hint=end.hint)
