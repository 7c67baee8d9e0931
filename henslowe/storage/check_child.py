"""The checking process itself: goes through the parts of a plan and says, in JSON lines, where it is and what it finds.

It may end at any page. Whoever runs it is `check_process`, what is checked is in `checks`.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any, Final

from henslowe.errors import Corrupt, FormatTooNew, HensloweError, NotFound, StorageError
from henslowe.storage import checks
from henslowe.storage.archive import Archive
from henslowe.storage.check_process import OPENING, PARTS, CheckPlan
from henslowe.storage.findings import RESTORE, Finding, FindingKind, Progress
from henslowe.storage.inspection import DataDir
from henslowe.storage.tablespec import Space

_TELL_EVERY_S: Final = 0.5
_NICE: Final = 19


def main(arguments: list[str]) -> None:
    """The child: checks what the plan says, speaking on standard output."""
    said: dict[str, Any] = json.loads(arguments[0])
    fields: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in said.items()}
    plan = CheckPlan(**fields)
    if plan.nice:
        os.nice(_NICE)
    speaker = Speaker(plan)
    try:
        for finding in findings(plan, speaker):
            speaker.say(finding=finding.as_dict())
    except HensloweError as error:
        speaker.say(error=error.as_dict())
        return
    speaker.say(done=True, **speaker.figures())


class Speaker:
    """The child's voice: at each new part or place at once, within one twice a second."""

    def __init__(self, plan: CheckPlan) -> None:
        self.progress = Progress(self._tell, plan.rate_bytes_s)
        self.part = ""
        self._told: tuple[str, str] = ("", "")
        self._told_s = 0.0

    def say(self, **said: Any) -> None:
        """Says one thing now."""
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()

    def figures(self) -> dict[str, Any]:
        """How much was read until now."""
        return {"counts": self.progress.counts, "size_bytes": self.progress.size_bytes}

    def _tell(self, place: str, key: bytes) -> None:
        now_s = time.monotonic()
        told = (self.part, place)
        new = told != self._told and (self.part != "archive" or place == OPENING)
        if new or now_s - self._told_s >= _TELL_EVERY_S:
            self._told, self._told_s = told, now_s
            self.say(position=(self.part, place, key.hex()), **self.figures())


def findings(plan: CheckPlan, speaker: Speaker) -> Iterator[Finding]:
    """Everything that is wrong, part by part; what cannot even be opened is a finding, too."""
    parts = [part for part in PARTS if part in plan.parts]
    if plan.start[0] in parts:
        parts = parts[parts.index(plan.start[0]) :]
    audit: Any = importlib.import_module(plan.audit) if plan.audit else None
    unsound = False
    if "structure" in parts:
        speaker.part = "structure"
        for finding in checks.check_structure(Path(plan.data_dir), speaker.progress):
            unsound = True
            yield finding
    read = [part for part in parts if part not in ("structure", "archive")]
    if read:
        speaker.part = read[0]
        speaker.progress.begin(OPENING)
        try:
            with DataDir.open(Path(plan.data_dir), plan.spaces) as found:
                for part in read:
                    speaker.part = part
                    with suppress(_Broken):
                        yield from _guarded(_part(part, plan, found, audit, speaker.progress), f"core/{part}")
        except StorageError as error:
            # An empty file, say, is no damage to LMDB, and a newer format is none at all.
            if isinstance(error, FormatTooNew) or not (unsound or isinstance(error, Corrupt)):
                raise
            yield Finding(FindingKind.STRUCTURE, plan.data_dir, error.message, RESTORE)
    if "archive" in parts and plan.archive:
        speaker.part = "archive"
        speaker.progress.begin(OPENING)
        start = plan.start[1] if plan.start[0] == "archive" else ""
        yield from checks.check_archive(
            Archive(Path(plan.archive)), _Wanted(plan, audit), speaker.progress, start=start
        )


def _part(part: str, plan: CheckPlan, found: DataDir, audit: Any, progress: Progress) -> Iterator[Finding]:
    _, place, key = plan.start if plan.start[0] == part else ("", "", "")
    if part == "records":
        yield from checks.check_records(found, progress, start=(place, bytes.fromhex(key)), skip=frozenset(plan.skip))
    elif part == "indexes":
        yield from checks.check_indexes(found, progress)
    elif part == "log":
        yield from checks.check_log(found, progress)
    elif audit is not None:
        progress.begin("core/rows")
        yield from audit.audit(found)


class _Broken(Exception):
    """The rest of a part cannot be checked."""


def _guarded(part: Iterator[Finding], place: str) -> Iterator[Finding]:
    """A part whose reading fails at damage: that is a finding, and the end of the part."""
    try:
        yield from part
    except (Corrupt, NotFound) as error:
        yield Finding(FindingKind.RECORD, place, error.message, RESTORE)
        raise _Broken from error


class _Wanted:
    """The builds that versions need: first as of the copy, then as of now."""

    def __init__(self, plan: CheckPlan, audit: Any) -> None:
        self._plan = plan
        self._audit = audit
        self._asked = False

    def __call__(self) -> checks.Builds:
        if self._audit is None:
            return {}
        folder = self._plan.live_dir if self._asked and self._plan.live_dir else self._plan.data_dir
        self._asked = True
        try:
            with DataDir.open(Path(folder), (Space.CORE,)) as found:
                return dict(self._audit.builds(found))
        except StorageError:
            return {}  # said by whoever read the tables
