"""A workspace whose watcher has real neighbours that only remember what they were told."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path

from henslowe.actors import names
from henslowe.actors.kernel import LoopActor, Ref
from henslowe.actors.messages import Publish, SourceChanged, SourceRemoved
from henslowe.actors.watcher import ReadStatus, Watcher, WatcherBoard, WatcherStatus
from henslowe.config.settings import WatcherSettings
from henslowe.storage import EventDraft

WAIT_S = 5.0


class Remembering(LoopActor):
    """Puts what it is told into a queue."""

    def __init__(self, queue: asyncio.Queue) -> None:
        super().__init__()
        self.queue = queue

    def handle_cast(self, message) -> None:
        for item in message.events if isinstance(message, Publish) else (message,):
            self.queue.put_nowait(item)


class Workspace:
    """A workspace that is being watched."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.dev = root / "dev"
        self.board = WatcherBoard()
        self.told: asyncio.Queue[SourceChanged | SourceRemoved] = asyncio.Queue()
        self.events: asyncio.Queue[EventDraft] = asyncio.Queue()
        self.watcher: Ref | None = None

    def write(self, path: str, content: str = "v0\n") -> Path:
        target = self.dev / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(content)
        return target

    async def start(self, watches_max: int = 100_000, files_max: int = 50_000, **settings) -> None:
        chosen = {"debounce_ms": 30, "debounce_max_ms": 200, "rescan_s": 3600.0, "poll_s": 0.1} | settings
        self.watcher = await Watcher.start_link(
            self.root,
            WatcherSettings(**chosen),
            self.board,
            watches_max=watches_max,
            files_max=files_max,
            name=names.WATCHER,
        )

    async def next(self) -> SourceChanged | SourceRemoved:
        """What the pipeline is told next."""
        return await asyncio.wait_for(self.told.get(), WAIT_S)

    async def event(self, event_type: str, status: str) -> EventDraft:
        """The next event of this kind; others before it are passed over."""
        async with asyncio.timeout(WAIT_S):
            while True:
                event = await self.events.get()
                if (event.type, event.status) == (event_type, status):
                    return event

    async def status(self) -> WatcherStatus:
        return await self.watcher.call(ReadStatus())

    async def until(self, holds: Callable[[WatcherStatus], bool]) -> WatcherStatus:
        """The first status for which `holds`."""
        async with asyncio.timeout(WAIT_S):
            while not holds(status := await self.status()):
                await asyncio.sleep(0.005)
        return status

    async def until_threads(self, count: int) -> None:
        """Returns once at most `count` threads are left."""
        async with asyncio.timeout(WAIT_S):
            while threading.active_count() > count:
                await asyncio.sleep(0.005)

    async def only_this_follows(self) -> None:
        """Fails if anything was or will be told of what happened before this call."""
        marker = self.write("zz-marker/server.py", f"{self.told.qsize()}")
        assert (await self.next()).path == marker.parent
