"""A watcher in a process of its own, as `bench/delivery_proof/watching.py` starts it: says what it hears and tells.

    python -m bench.delivery_proof.watched_node WORKSPACE [WATCHES]

A JSON line per hint of the kernel, change, health and status, each with the time of the system's monotonic clock. It
ends when its standard input ends. A line `NUMBER` there sets the limit of watches of its user namespace, as the second
argument does before the start.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from henslowe.actors import names
from henslowe.actors.kernel import LoopActor, Scheduler
from henslowe.actors.messages import Publish, SourceChanged
from henslowe.actors.watcher import Watcher
from henslowe.actors.watcher.hints import HintBox
from henslowe.config.settings import WatcherSettings
from henslowe.node_garbage import put_off

WATCH_LIMIT: Final = Path("/proc/sys/user/max_inotify_watches")
"""Of the user namespace that reads it."""


def tell(what: str, **more: Any) -> None:
    """One line, at once."""
    sys.stdout.write(json.dumps({"what": what, "at_s": time.monotonic(), **more}) + "\n")
    sys.stdout.flush()


@dataclass(slots=True)
class TellingBox(HintBox):
    """Says when the kernel's hint was there."""

    def hint(self, key: str, path: str) -> None:
        """As before, and told."""
        HintBox.hint(self, key, path)
        tell("hint", service=key, path=path)


class TellingWatcher(Watcher):
    """A watcher whose hints are told."""

    def __init__(self, workspace: Path, settings: WatcherSettings) -> None:
        super().__init__(workspace, settings)
        self._box = TellingBox(self._box.wake)


class Neighbour(LoopActor):
    """The pipeline and the bus: says what it was told."""

    def handle_cast(self, message: Any) -> None:
        """A change, or events."""
        if isinstance(message, SourceChanged):
            tell("change", service=message.service, digest=message.digest, changed=list(message.changed))
        elif isinstance(message, Publish):
            for event in message.events:
                if event.type == "WATCHER_HEALTH":
                    kinds = [problem["kind"] for problem in event.data["problems"]]
                    tell("health", status=event.status, mode=event.data["mode"], kinds=kinds)


async def live(workspace: Path) -> None:
    """Watches until standard input ends."""
    Scheduler.install()
    for name in (names.PIPELINE, names.BUS):
        await Neighbour.start_link(name=name)
    began_s = time.monotonic()
    watcher = await TellingWatcher.start_link(workspace, WatcherSettings(), name=names.WATCHER)
    tell("started", took_s=time.monotonic() - began_s)
    while line := await asyncio.to_thread(sys.stdin.readline):
        WATCH_LIMIT.write_text(line)
        tell("limit", watches=int(line))
    await watcher.stop(block=False)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        WATCH_LIMIT.write_text(sys.argv[2])
    put_off()  # as the node does
    asyncio.run(live(Path(sys.argv[1])))
