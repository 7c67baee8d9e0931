"""Runs the command of a stage: minimal environment, bounded output, a time limit, and nothing left behind.

Whatever the command started is dead when `run_command` returns, raises, or is cancelled: its session is killed, and
what left the session is found by its environment (see `henslowe.actors.kernel.OsProcess`).
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from henslowe.actors.kernel import OsProcess, Ref
from henslowe.actors.launch import Resolve
from henslowe.actors.pipeline.environment import ServiceEnv, find_tool
from henslowe.actors.pipeline.guard import Limits, watch
from henslowe.actors.pipeline.isolation import Cage
from henslowe.actors.pipeline.output import StageOutput
from henslowe.actors.pipeline.workdir import Workdir
from henslowe.errors import StageFailed

DRAIN_S: Final = 2.0
"""Longest wait for the rest of the output once the process and its tree are dead."""


@dataclass(slots=True, frozen=True)
class Place:
    """Where and as whom the commands of one run work."""

    work: Workdir
    env: ServiceEnv
    owner: Ref
    marker: str
    variables: Mapping[str, str]
    """What the service itself wants set."""
    cage: Cage = field(default_factory=Cage)
    limits: Limits | None = None
    """What a command may use; None for no look at it."""
    secrets: Resolve = dict
    """Resolves what the server's variables refer to; the stages' own get none."""

    def caging(self, writable: Sequence[Path] = (), cwd: Path | None = None) -> list[str]:
        """What keeps a command that follows it within the run's folders, and what else it may write."""
        folders = [self.work.src, self.work.home, *writable]
        return self.cage.before(cwd=cwd or self.work.src, writable=folders, tmp=self.work.tmp)

    def environment(self, more: Mapping[str, str]) -> dict[str, str]:
        """All variables of a stage: nothing of the node's own but the locale and where programs and libraries are."""
        base = {
            "PATH": self.env.path,
            "HOME": str(self.work.home),
            "TMPDIR": str(self.work.tmp),
            "LANG": os.environ.get("LANG", "C.UTF-8"),
            **({"LD_LIBRARY_PATH": libraries} if (libraries := os.environ.get("LD_LIBRARY_PATH")) else {}),
            "NO_COLOR": "1",
            "TERM": "dumb",
            "PYTHONDONTWRITEBYTECODE": "1",
            "PYTHONUNBUFFERED": "1",
            **self.variables,
        }
        return base | {key: value.replace("{tmp}", str(self.work.tmp)) for key, value in more.items()}

    def resolve(self, command: Sequence[str]) -> list[str]:
        """The command with our own words replaced: `{python}`, `{ruff}`, and `{tmp}` within any."""
        words = {"{python}": lambda: self.env.python, "{ruff}": lambda: find_tool("ruff")}
        tmp = str(self.work.tmp)
        return [words[word]() if word in words else word.replace("{tmp}", tmp) for word in command]


async def run_command(
    place: Place,
    command: Sequence[str],
    output: StageOutput,
    *,
    timeout_s: float,
    env: Mapping[str, str],
    writable: Sequence[Path] = (),
    cwd: Path | None = None,
    given: bytes = b"",
) -> int:
    """Run one command to its end; its exit code.

    Args:
        place: Where, as whom, and within which limits.
        command: What; see `Place.resolve`.
        output: Takes its lines.
        timeout_s: Longest it may take.
        env: More variables.
        writable: Folders outside of the run's that it may write.
        cwd: Where it runs; None for the run's sources.
        given: What it finds on its standard input.

    Raises:
        StageFailed: It could not be started, did not end within `timeout_s`, or used more than it may.
    """
    process = await OsProcess.spawn(
        place.resolve(command),
        before=place.caging(writable, cwd),
        cwd=cwd or place.work.src,
        env=place.environment(env),
        owner=place.owner,
        stdin=bool(given),
        marker=place.marker,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    readers = [
        asyncio.ensure_future(output.read("stdout", process.stdout)),
        asyncio.ensure_future(output.read("stderr", process.stderr)),
    ]
    watching = asyncio.ensure_future(watch(process, place.work.root, place.limits)) if place.limits else None
    if process.stdin is not None:
        process.stdin.write(given)  # one that does not read it is not waited for
        process.stdin.write_eof()
    try:
        async with asyncio.timeout(timeout_s):
            code = await process.wait()
            broken = await watching if watching is not None else ""
    except TimeoutError:
        raise StageFailed(
            f"expected an end within {timeout_s:g} s, got none; it was killed",
            hint="make it faster, or raise timeout_s of the stage in service.toml",
        ) from None
    finally:
        await end(process)
        if watching is not None:
            watching.cancel()
        await asyncio.wait(readers, timeout=DRAIN_S)
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)
        process.close_pipes()
    if broken:
        raise StageFailed(f"{broken}; it was killed", hint="see the limits of pipeline in henslowe.toml")
    return code


async def end(process: OsProcess) -> None:
    """Kill a process and all that it started, and wait until it is gone; also when the caller is being cancelled."""
    if process.is_running():  # else its tree was killed when it ended
        process.kill_tree()
    waiting = asyncio.ensure_future(process.wait())
    while not waiting.done():
        try:
            await asyncio.shield(waiting)
        except asyncio.CancelledError:
            if waiting.cancelled():
                raise
