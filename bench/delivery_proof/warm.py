"""What the pipeline of the sample adds to its tools, warm, beside `watchmedo` with `make` over the same tools.

Each edit is met three times in turn: by a script that runs the tools at once and waits (their own time), by `watchmedo`
that runs `make -j` with the same commands when the file is saved, and by a whole node. Then two states come back again
and again of which each stage is remembered: what does not run must not cost.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

from bench import edit_to_live
from bench.delivery_proof.outcome import percentile

ADDED_MS_MAX: Final = 250.0
REPLAYED_MS_MAX: Final = 20.0
DONE_S: Final = 60.0
SETTLE_S: Final = 1.0
LOOK_S: Final = 0.05
MAKEFILE: Final = """
all: lint test check
\t@mv started done
started:
\t@cp server.py started
lint: started
\t@ruff check --no-cache --quiet --isolated --select=E9,F .
test: started
\t@python -m pytest -q -p no:cacheprovider -c /dev/null --rootdir=. >/dev/null 2>&1
check: started
\t@python check.py
.PHONY: all lint test check
"""


@contextlib.asynccontextmanager
async def watchmedo_and_make(folder: Path) -> AsyncIterator[edit_to_live.Peer]:
    """The peer at work; one run of `make` per save."""
    folder.mkdir()
    (folder / "Makefile").write_text(MAKEFILE)
    (folder / "test_server.py").write_text(edit_to_live.TESTS)
    (folder / "check.py").write_text(edit_to_live.CHECK)
    (folder / "server.py").write_text(edit_to_live.SERVER.format(edit=0))
    bin_, done = Path(sys.executable).parent, folder / "done"
    argv = [str(bin_ / "watchmedo"), "shell-command", "--patterns=*server.py", "--wait", "--drop"]
    argv += ["--command=make -s -j", "."]
    env = {**os.environ, "PATH": f"{bin_}:{os.environ['PATH']}", "PYTHONDONTWRITEBYTECODE": "1"}
    child = await asyncio.create_subprocess_exec(*argv, cwd=folder, env=env, start_new_session=True)

    async def rest() -> None:
        """It may have heard of one save twice, and what is saved while it works would be lost to it."""
        quiet_s = 0.0
        while quiet_s < SETTLE_S:
            await asyncio.sleep(LOOK_S)
            quiet_s = 0.0 if (folder / "started").exists() else quiet_s + LOOK_S

    async def save(text: str) -> float:
        began_s = time.perf_counter()
        (folder / "server.py").write_text(text)
        async with asyncio.timeout(DONE_S):
            while not done.exists() or done.read_text() != text:
                await asyncio.sleep(0.002)
        took_ms = (time.perf_counter() - began_s) * 1000
        await rest()
        return took_ms

    try:
        async with asyncio.timeout(DONE_S):
            while not done.exists():  # until it has begun to watch
                (folder / "server.py").write_text(edit_to_live.SERVER.format(edit=0))
                await rest()
        yield save
    finally:
        os.killpg(child.pid, signal.SIGKILL)
        await child.wait()


async def _measure(edits: int, reverts: int, folder: Path) -> dict[str, list[float]]:
    async with watchmedo_and_make(folder / "peer") as peer:
        return await edit_to_live.measure(edits, reverts, peer)


def prove(edits: int, reverts: int) -> dict[str, Any]:
    """Medians and 95th percentiles, and the marks that are missed."""
    with tempfile.TemporaryDirectory(prefix="prove-warm-") as folder:
        took = asyncio.run(_measure(edits, reverts, Path(folder)))
    took["added"] = [staged - script for staged, script in zip(took["staged"], took["script"], strict=True)]
    took["peer_added"] = [peer - script for peer, script in zip(took["peer"], took["script"], strict=True)]
    figures: dict[str, Any] = {"edits": edits}
    for name in ("script", "staged", "added", "outside", "peer", "peer_added", "replayed", "reverted"):
        figures[f"{name}_ms_p50"] = round(statistics.median(took[name]), 1)
    figures["outside_ms_p95"] = percentile(took["outside"], 0.95)
    figures["replayed_ms_p95"] = percentile(took["replayed"], 0.95)
    figures["staged_over_peer"] = round(figures["staged_ms_p50"] / figures["peer_ms_p50"], 2)
    marks = {
        "added_ms_p50": ADDED_MS_MAX,
        "outside_ms_p95": ADDED_MS_MAX,
        "replayed_ms_p95": REPLAYED_MS_MAX,
    }
    problems = [
        f"{name}: at most {mark:g}, got {figures[name]}" for name, mark in marks.items() if figures[name] > mark
    ]
    return {**figures, "problems": problems}
