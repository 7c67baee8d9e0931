"""Stages that need not run again: the same stage on the same inputs with the same tools gave this.

A key covers the stage's definition, the content of its input files, the environment, the identity of the program that
it runs, and the keys of the stages before it. Only successes are kept. A hit replays the log and puts the artifacts
back.

    <data>/cache/stages/<2 digits>/<key>.json      artifacts are a build in the archive

Losing the folder costs time, nothing else: a broken or incomplete entry is a miss. Blocking: call it in a thread.
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from henslowe.actors.pipeline import kept
from henslowe.actors.pipeline.output import Line
from henslowe.actors.pipeline.plan import PlannedStage
from henslowe.actors.pipeline.workdir import Workdir, matching
from henslowe.errors import Corrupt, NotFound
from henslowe.storage import Archive

FORMAT: Final = 2
ENTRIES_MAX: Final = 2_000
"""Beyond it the least recently used quarter goes."""


@dataclass(slots=True, frozen=True)
class Remembered:
    """What an earlier run of the same stage gave."""

    duration_ms: int
    lines: tuple[Line, ...] = ()
    artifacts: str = ""
    """Build in the archive, "" for none."""
    result: dict[str, Any] | None = None
    """What a built-in stage found, or what the stage's reports said, beside its log."""
    kept: str = ""
    """Build in the archive of the reports themselves, "" for none."""


def stage_key(
    stage: PlannedStage, files: Mapping[str, str], *, environment: str, program: str, before: Mapping[str, str]
) -> str:
    """The key of one run of a stage.

    Args:
        stage: Its definition.
        files: SHA-256 of all source files by path; only those that the stage's `inputs` match count.
        environment: Digest of the service's environment.
        program: Identity of the program that the stage runs.
        before: Keys of the stages that it needs, directly or not.
    """
    definition = asdict(stage) | {
        "env": dict(stage.env),
        "timeout_s": 0,
        "needs": (),
        "reports": stage.reports.model_dump(),
    }
    inputs = [(path, files[path]) for path in matching(files, stage.inputs)]
    where = (sys.platform, platform.machine())
    text = json.dumps([FORMAT, definition, inputs, environment, program, sorted(before.items()), where], sort_keys=True)
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()


class StageCache:
    """The cache of one node. Thread-safe: entries are whole files, renamed into place."""

    def __init__(self, root: Path, archive: Archive) -> None:
        self._root = root
        self._archive = archive
        self._writes = 0

    def load(self, key: str, work: Workdir, stage: str = "") -> Remembered | None:
        """What is remembered, its artifacts and reports put back into the run's folders; None for a miss."""
        path = self._path(key)
        try:
            table = json.loads(path.read_bytes())
            lines = tuple((str(channel), str(text)) for channel, text in table["lines"])
            found = Remembered(
                int(table["duration_ms"]), lines, str(table["artifacts"]), table["result"], str(table["kept"])
            )
            if found.artifacts:
                self._restore(found.artifacts, work)
            if found.kept:
                with suppress(NotFound, Corrupt):  # what it said is known; the files themselves may have been collected
                    kept.restore(self._archive, found.kept, work.kept / stage)
            os.utime(path)
        except (OSError, ValueError, KeyError, TypeError, NotFound, Corrupt):
            return None
        return found

    def save(self, key: str, found: Remembered) -> None:
        """Remember a success; a disk that cannot take it forgets it."""
        path = self._path(key)
        aside = path.with_suffix(f".{os.getpid()}.{self._writes}.tmp")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            aside.write_text(json.dumps(asdict(found)))
            aside.replace(path)
        except OSError:
            aside.unlink(missing_ok=True)
            return
        self._writes += 1
        if self._writes % 100 == 0:
            self._prune()

    def _restore(self, build_id: str, work: Workdir) -> None:
        for entry in self._archive.build(build_id).files:
            content = self._archive.read(entry)
            for root in (work.src, work.pack):
                target = root / entry.path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.unlink(missing_ok=True)
                target.write_bytes(content)
                target.chmod(0o700 if entry.executable else 0o600)

    def _prune(self) -> None:
        entries = sorted(self._root.glob("*/*.json"), key=lambda path: path.stat().st_mtime)
        for path in entries[: max(0, len(entries) - ENTRIES_MAX * 3 // 4)] if len(entries) > ENTRIES_MAX else ():
            path.unlink(missing_ok=True)

    def _path(self, key: str) -> Path:
        return self._root / key[:2] / f"{key}.json"
