"""Calls that wait for an instance, or for room at one: woken by what they wait for, bounded in time, number and bytes.

A service that is down or slow holds back its own calls only: each has its own limit in number, and all together one in
bytes. Beyond a limit a call fails at once instead of filling memory.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import Final

from henslowe.actors.endpoints import EndpointDirectory
from henslowe.actors.routes import RouteTable
from henslowe.errors import LimitReached
from henslowe.transport.gateway.selection import service_of

BYTES_MAX: Final = 256 * 1024 * 1024
"""Of the requests that wait, as they came; a waiting call holds some ten times that in objects at worst."""


class Waiting:
    """The calls that wait. Runs in: the node's loop.

    Args:
        routes: Calls look again when they change.
        directory: The same.
        per_service_max: Calls of one service that may wait at once.
    """

    def __init__(self, routes: RouteTable, directory: EndpointDirectory, per_service_max: int) -> None:
        self._max = per_service_max
        self._of: dict[str, OrderedDict[asyncio.Future[None], None]] = {}
        self._count = 0
        self._bytes = 0
        self._cancels = (
            directory.on_change(lambda version: self.wake(version.service)),
            routes.on_change(lambda old, new: self.wake(*(s for s in {*old, *new} if old.get(s) != new.get(s)))),
        )

    def __len__(self) -> int:
        return self._count

    def of(self, service: str) -> int:
        """How many of them wait for this service."""
        return len(self._of.get(service, ()))

    async def changed(self, target: str, timeout_s: float, size: int) -> bool:
        """Whether something changed for this target within `timeout_s`; `size` is that of the request.

        Raises:
            LimitReached: Too many calls wait.
        """
        service = service_of(target)
        queue = self._of.setdefault(service, OrderedDict())
        if len(queue) >= self._max or self._bytes + size > BYTES_MAX:
            which = f"{len(queue)} calls" if len(queue) >= self._max else f"{self._bytes} bytes of calls"
            raise LimitReached(
                f"cannot call {service}: {which} wait for it already",
                hint=f"see `henslowe status {service}`; gateway.waiting_max is the limit",
                retry_after_s=1,
            )
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        queue[future] = None
        self._count += 1
        self._bytes += size
        try:
            async with asyncio.timeout(timeout_s):
                await future
        except TimeoutError:
            return False
        except asyncio.CancelledError:
            if future.done() and not future.cancelled():
                self.wake_one(service)  # what it was woken for is another one's now
            raise
        finally:
            self._count -= 1
            self._bytes -= size
            queue.pop(future, None)  # many may leave at once; who was woken is out of it already
            if not queue and self._of.get(service) is queue:
                del self._of[service]
        return True

    def wake(self, *services: str) -> None:
        """Let all calls of these services look again."""
        for service in services:
            for future in self._of.pop(service, ()):
                if not future.done():
                    future.set_result(None)

    def wake_one(self, service: str) -> None:
        """Let the call that waits longest look again: there is room for one."""
        queue = self._of.get(service)
        while queue:
            future, _ = queue.popitem(last=False)
            if not future.done():
                future.set_result(None)
                return

    def close(self) -> None:
        """Stop listening to changes; waiting calls look once more and then time out."""
        for cancel in self._cancels:
            cancel()
        self.wake(*self._of)
