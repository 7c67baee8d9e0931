"""One pass of the scrubber: a child that reads everything, what its findings ask for, and how far it came.

Not here: when a pass is made (`scrubber`), and what is checked (`checks`).
"""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel, ConfigDict

from henslowe.actors.kernel import OsProcess, Ref
from henslowe.errors import Corrupt, HensloweError
from henslowe.storage import heal
from henslowe.storage.archive import Archive
from henslowe.storage.check_process import SCRUB_PARTS, Check, CheckPlan
from henslowe.storage.findings import Finding, FindingKind
from henslowe.storage.heal import Folders
from henslowe.storage.notices import NoticeKind, Notices
from henslowe.storage.quarantine import Quarantined
from henslowe.storage.tables import Table
from henslowe.storage.tablespec import TableSpec

SAVE_S: Final = 15.0
"""How often the position is written down: what is read again after a crash."""
FINDINGS_KEPT: Final = 100
_LINE_BYTES_MAX: Final = 1 << 20
_NOWHERE: Final = ("", "", "")


class ScrubRow(BaseModel):
    """How far the pass under way has come, and what is known to be wrong."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    name: str = "scrub"
    position: tuple[str, str, str] = _NOWHERE
    """Part, place, key in hex; empty between passes."""
    finished_s: float = 0.0
    """End of the last whole pass, Unix time; the first start of the scrubber before there was one."""
    findings: tuple[dict[str, Any], ...] = ()
    """What is wrong and could not be healed, as of the last pass, or of this one so far."""


SCRUBS: Final = TableSpec(name="scrubs", row_type=ScrubRow, key="name")


@dataclass(frozen=True, slots=True)
class Scrubbed:
    """One pass: what is wrong, how much was healed, how much was read."""

    findings: tuple[Finding, ...]
    healed: int
    counts: dict[str, int]
    size_bytes: int
    took_s: float


@dataclass(slots=True)
class Integrity:
    """What is known of the soundness of what is stored. Published by the scrubber; anybody in the loop may look."""

    findings: tuple[Finding, ...] = ()
    finished_s: float = 0.0
    healed: int = 0
    """Since the start of the node."""


@dataclass(slots=True)
class Scrubbing:
    """What the scrubber works with.

    Attributes:
        data_dir: What is read.
        archive: Where objects are healed.
        table: Has the `ScrubRow`.
        notices: Told of damage, healing and the end of a pass.
        interval_s: From the end of a pass to the next; 0 for never.
        rate_bytes_s: Most bytes read in a second.
        quarantined: Damaged rows that were moved aside.
        rewrite: Writes the row under a sub-database's key again, from memory; whether it could.
        audit: Module that knows which versions need which builds; "" for none.
        folders: Where builds are laid out.
        integrity: What is known.
    """

    data_dir: Path
    archive: Archive
    table: Table[ScrubRow]
    notices: Notices
    interval_s: float
    rate_bytes_s: float
    quarantined: Callable[[], list[Quarantined]]
    rewrite: Callable[[str, bytes], Awaitable[bool]]
    audit: str = ""
    folders: Folders = heal.nowhere
    integrity: Integrity = field(default_factory=Integrity)

    @property
    def row(self) -> ScrubRow:
        """How far it is."""
        with suppress(Corrupt):  # the scrubber's own row is damaged: it begins anew
            return self.table.lookup("scrub") or ScrubRow()
        return ScrubRow()


class ScrubPass:
    """One pass, from where the last one was cut off. Runs in: the loop."""

    def __init__(self, work: Scrubbing, owner: Ref, now_s: Callable[[], float]) -> None:
        self._work = work
        self._owner = owner
        self._now_s = now_s
        row = work.row
        self._row = row if any(row.position) else row.model_copy(update={"findings": ()})
        self._check = Check(
            CheckPlan(
                data_dir=str(work.data_dir),
                archive=str(work.archive.root) if work.archive.root.exists() else "",
                audit=work.audit,
                parts=SCRUB_PARTS,
                rate_bytes_s=work.rate_bytes_s,
                start=row.position,
                nice=True,
            )
        )
        self._left = [Finding.from_dict(each) for each in self._row.findings]
        self._healed = 0
        self._saved_s = time.monotonic()

    async def run(self) -> Scrubbed:
        """Reads everything once.

        Raises:
            HensloweError: The child cannot work, or the position not be written.
        """
        begun_s = time.monotonic()
        while not self._check.done:
            await self._take(self._check.ended(await self._child()))
        work, check = self._work, self._check
        work.integrity.findings = tuple(self._left)
        work.integrity.finished_s = self._now_s()
        await self._save(position=_NOWHERE, finished_s=work.integrity.finished_s)
        done = Scrubbed(tuple(self._left), self._healed, check.counts, check.size_bytes, time.monotonic() - begun_s)
        work.notices.tell(
            NoticeKind.SCRUBBED,
            findings=len(done.findings),
            healed=done.healed,
            size_bytes=done.size_bytes,
            took_s=round(done.took_s, 1),
            counts=dict(done.counts),
        )
        return done

    async def _child(self) -> int:
        process = await OsProcess.spawn(
            self._check.argv(),
            owner=self._owner,
            stdin=False,
            stderr=subprocess.DEVNULL,
            line_bytes_max=_LINE_BYTES_MAX,
        )
        try:
            assert process.stdout is not None
            while line := await process.stdout.readline():
                await self._take(self._check.take(line))
                if time.monotonic() - self._saved_s >= SAVE_S:
                    await self._save(position=self._check.position)
            return await process.wait()
        finally:
            process.kill_tree()
            process.close_pipes()

    async def _take(self, finding: Finding | None) -> None:
        """Heals what was found, or keeps and tells it."""
        if finding is None:
            return
        work = self._work
        source = await self._heal(finding)
        if source:
            self._healed += 1
            work.integrity.healed += 1
            work.notices.tell(NoticeKind.HEALED, place=finding.place, problem=finding.message, source=source)
            return
        known = {each.place: each for each in self._left}.get(finding.place) == finding
        if not known:
            self._left.append(finding)
            work.integrity.findings = tuple(self._left)
        if finding.kind is not FindingKind.QUARANTINED:
            work.notices.tell(
                NoticeKind.DAMAGED,
                damage=finding.kind.value,
                place=finding.place,
                problem=finding.message,
                hint=finding.hint,
                versions=list(finding.versions),
            )
        await self._save(position=self._check.position)

    async def _heal(self, finding: Finding) -> str:
        """Where it was healed from, "" if it was not."""
        work = self._work
        if finding.kind is FindingKind.OBJECT:
            found = await asyncio.to_thread(heal.heal_object, work.archive, finding, work.folders)
            return str(found or "")
        if finding.kind is FindingKind.RECORD and finding.key:
            try:
                _, _, db_name = finding.place.partition("/")
                return "memory" if await work.rewrite(db_name, bytes.fromhex(finding.key)) else ""
            except HensloweError:
                return ""  # the disk refuses: damaged it stays
        return ""

    async def _save(self, **changes: Any) -> None:
        self._saved_s = time.monotonic()
        findings = tuple(each.as_dict() for each in self._left[:FINDINGS_KEPT])
        self._row = self._row.model_copy(update={"findings": findings, **changes})
        await self._work.table.insert(self._row)
