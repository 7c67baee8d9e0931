"""The life of a node as a process: the loop, signals, the collector, and the exit status.

What a node is made of is `henslowe.node`'s.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from henslowe.config.provenance import Loaded
from henslowe.node import Node
from henslowe.node_garbage import collect_in_quiet, settle
from henslowe.transport.mcp import sdk

log = logging.getLogger(__name__)

STOP_S = 60.0
"""Longest orderly stop; then the process leaves anyway: children die with it, and the store is safe at any moment."""
SWITCH_INTERVAL_S = 0.0005
"""Python's own 5 ms lets a busy thread (the writer, a digest) hold up the loop ten times longer than this does."""


def run(
    loaded: Loaded,
    *,
    on_ready: Callable[[Node], None] | None = None,
    found_sound: Callable[[Path], bool] | None = None,
) -> int:
    """Run a node until SIGTERM, SIGINT, SIGHUP, or somebody's `stop`; the exit status of the process.

    Args:
        loaded: Its settings.
        on_ready: Called when the listeners are open.
        found_sound: Whether a file of its store was verified already (`henslowe.early_check`).

    Raises:
        HensloweError: It cannot start.
    """
    sys.setswitchinterval(SWITCH_INTERVAL_S)
    try:
        with asyncio.Runner(loop_factory=_loop_factory()) as runner:
            return runner.run(_main(loaded, on_ready, found_sound))
    except KeyboardInterrupt:
        return 130


async def _main(
    loaded: Loaded, on_ready: Callable[[Node], None] | None, found_sound: Callable[[Path], bool] | None
) -> int:
    node = await Node.start(loaded, found_sound=found_sound)
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, node.stopping.set)
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # nohup means: go on without the terminal
        # Never given back: the shell and the kernel may both say that the terminal is gone.
        loop.add_signal_handler(signal.SIGHUP, node.stopping.set)
    if on_ready is not None:
        on_ready(node)
    await asyncio.to_thread(sdk.warm)
    settle()
    collecting = asyncio.create_task(collect_in_quiet())
    fallen = asyncio.Event()
    node.root.watch(lambda *_: loop.call_soon_threadsafe(fallen.set))
    waits = [asyncio.create_task(event.wait()) for event in (node.stopping, fallen)]
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    for task in (*waits, collecting):
        task.cancel()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.remove_signal_handler(signum)  # a second one ends the process at once
    try:
        await asyncio.wait_for(node.stop(), STOP_S)
    except TimeoutError:
        log.critical("stop_timed_out", extra={"after_s": STOP_S})
        os._exit(1)  # a thread may hold the interpreter; what was acknowledged is on disk
    if fallen.is_set() and not node.stopping.is_set():
        log.error("tree_fell", extra={"hint": "the reports above name the actor that kept crashing"})
        return 1
    return 0


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop] | None:
    """uvloop's, when it is installed (`pip install henslowe[uvloop]`)."""
    try:
        import uvloop
    except ImportError:
        return None
    factory: Callable[[], asyncio.AbstractEventLoop] = uvloop.new_event_loop
    return factory
