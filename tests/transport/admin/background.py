"""A small node in a thread of its own, for tests of a client that blocks."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

from tests.transport.admin.small_node import Served, serve

T = TypeVar("T")


class Background:
    """A small node that runs elsewhere, and the way to it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, served: Served) -> None:
        self.loop = loop
        self.served = served
        self.node = served.node

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run something on the node's loop and wait for it, at most 5 s."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(timeout=5)

    def say(self, *args: Any, **data: Any) -> None:
        """Put one event into the node's log."""
        self.run(self.node.say(*args, **data))


@contextmanager
def background(workspace: Path, **options: Any) -> Iterator[Background]:
    """A small node in a thread until the block ends."""
    started = threading.Event()
    box: dict[str, Any] = {}

    async def main() -> None:
        box["loop"], box["end"] = asyncio.get_running_loop(), asyncio.Event()
        async with serve(workspace, **options) as served:
            box["served"] = served
            started.set()
            await box["end"].wait()

    def run() -> None:
        try:
            asyncio.run(main())
        except BaseException as error:
            box["error"] = error
            raise
        finally:
            started.set()

    thread = threading.Thread(target=run, name="small-node")
    thread.start()
    assert started.wait(5)
    if "error" in box:
        raise box["error"]
    try:
        yield Background(box["loop"], box["served"])
    finally:
        box["loop"].call_soon_threadsafe(box["end"].set)
        thread.join(10)
        assert not thread.is_alive()
