"""Who may be served without a task: the guard and the door for requests whose answer to both is known at once.

What the guard says follows from the head alone, and is remembered with it; what the door says is asked for each
request. Whoever would be turned away, or has to be looked at more closely (a page of a browser, a token that its issuer
must be asked about, a client near its limit), is left to the middleware (`http_guard`), whose rules these are.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial

from aiohttp import hdrs
from aiohttp.http_parser import RawRequestMessage

from henslowe.transport.access import Door, LiveRequests
from henslowe.transport.connections import ClientConnection, Direct
from henslowe.transport.gateway.head import Head, head_of
from henslowe.transport.gateway.inline import InlineCall, InlineCalls
from henslowe.transport.heads import Heads
from henslowe.transport.http_guard import Guard, ends
from henslowe.transport.listener import HEADER_BYTES_MAX, HEADERS_MAX


@dataclass(slots=True, frozen=True)
class _Read:
    """A head that the guard lets pass."""

    host: str
    path: str
    authorization: str | None
    head: Head


class InlineDoor:
    """Implements `henslowe.transport.connections.Inline`. Runs in: the node's loop.

    Args:
        direct: Which requests are meant.
        guard: Judges heads.
        door: Judges who asks.
        live: Ends what a token opened, when the token ends.
        calls: Serves the requests.
    """

    def __init__(self, direct: Direct, guard: Guard, door: Door, live: LiveRequests, calls: InlineCalls) -> None:
        self._direct = direct
        self._guard = guard
        self._door = door
        self._live = live
        self._calls = calls
        self.heads: Heads[_Read] = Heads(self._read, field_bytes_max=HEADER_BYTES_MAX, fields_max=HEADERS_MAX)

    def begin(self, client: ClientConnection, head: _Read, raw: bytes, at: int) -> InlineCall | None:
        """See `Inline.begin`."""
        who = self._door.foresee(head.host, head.path, head.authorization, client.peer)
        if who is None:
            return None
        call = self._calls.begin(client, head.head, who, raw, at)
        if call is not None:
            self._door.count(who, client.peer)
            if ends(who):
                call.at_end = partial(self._live.end, self._live.begin(client, who))
        return call

    def _read(self, message: RawRequestMessage) -> _Read | None:
        headers, path = message.headers, message.path
        host = headers.get(hdrs.HOST)
        if (
            host is None
            or hdrs.ORIGIN in headers
            or not self._direct.takes(message)
            or self._guard.judge(path, host, None) is not None
            or len(headers.getall(hdrs.AUTHORIZATION, ())) > 1
        ):
            return None
        head = head_of(path[len(self._direct.root) + 1 :], message)
        return None if head is None else _Read(host.lower(), path, headers.get(hdrs.AUTHORIZATION), head)
