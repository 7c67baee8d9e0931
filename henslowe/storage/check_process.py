"""A check in a process of its own (`check_child`): pages damaged in some ways end whoever reads them.

    report = run_check(CheckPlan(data_dir, audit="henslowe.actors.versions.audit"))

The child says in JSON lines where it is and what it finds. When it dies, the place where it was is a finding, and
another child goes on without that place. `Check` is what a driver needs: `run_check` here, blocking, for the command
line; the node's scrubber drives one beside its loop.

Beside a running node a steady copy is checked, made and removed by `steady`; the scrub, which reads single records
in transactions of their own, needs none.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final

from henslowe.errors import HensloweError, StorageError, revived
from henslowe.storage import filesystem
from henslowe.storage.env import Environment
from henslowe.storage.figures import ARCHIVE
from henslowe.storage.findings import RESTORE, Finding, FindingKind
from henslowe.storage.inspection import DATA_FILE
from henslowe.storage.nodelock import holder
from henslowe.storage.tablespec import Space

PARTS: Final = ("structure", "records", "indexes", "log", "rows", "archive")
SCRUB_PARTS: Final = ("records", "archive")
"""What can be checked in place while the node writes."""
CRASHES_MAX: Final = 5
"""Places that end the reader, before the records of the rest are left unread."""
FINDINGS_MAX: Final = 1_000
"""More are counted only: the first ones tell what happened."""
_CHILD: Final = "import sys; from henslowe.storage.check_child import main; main(sys.argv[1:])"
OPENING: Final = "core/data.mdb"
"""The place of whoever opens the environments."""
_COPY: Final = ".check-"
_COPY_ROOM_BYTES: Final = 64 << 20
"""What a copy leaves free on the disk."""


@dataclass(frozen=True, slots=True)
class CheckPlan:
    """What to check.

    Attributes:
        data_dir: Its environments are checked: a data directory or a copy.
        archive: The archive; "" for none.
        live_dir: Where the tables of now are, when `data_dir` is a copy.
        audit: Module that knows what rows mean (`henslowe.storage.checks.Audit`); "" for none.
        parts: Which of `PARTS`.
        rate_bytes_s: Most bytes read in a second, 0 for no limit.
        start: Where an earlier check came to: part, place, key in hex.
        skip: Places to leave out.
        spaces: Environments to read.
        nice: Whether everything else goes first.
    """

    data_dir: str
    archive: str = ""
    live_dir: str = ""
    audit: str = ""
    parts: tuple[str, ...] = PARTS
    rate_bytes_s: float = 0.0
    start: tuple[str, str, str] = ("", "", "")
    skip: tuple[str, ...] = ()
    spaces: tuple[str, ...] = tuple(Space)
    nice: bool = False


@dataclass(frozen=True, slots=True)
class Report:
    """What a check found, and how much it looked at. `unsaid` findings were too many to keep."""

    findings: tuple[Finding, ...]
    unsaid: int
    counts: dict[str, int]
    size_bytes: int
    took_s: float

    @property
    def ok(self) -> bool:
        """Whether nothing is wrong."""
        return not self.findings

    def as_dict(self) -> dict[str, Any]:
        """JSON-serialisable, additive."""
        return asdict(self) | {"ok": self.ok, "findings": [finding.as_dict() for finding in self.findings]}


@dataclass(slots=True)
class Check:
    """One check over the lives of its children. Give it their lines and their ends; no I/O of its own."""

    plan: CheckPlan
    findings: list[Finding] = field(default_factory=list)
    unsaid: int = 0
    counts: dict[str, int] = field(default_factory=dict)
    size_bytes: int = 0
    position: tuple[str, str, str] = ("", "", "")
    error: HensloweError | None = None
    done: bool = False
    _crashes: Counter[str] = field(default_factory=Counter)
    _counts_before: dict[str, int] = field(default_factory=dict)
    _bytes_before: int = 0

    def argv(self) -> list[str]:
        """The command of the next child."""
        return [sys.executable, "-P", "-c", _CHILD, json.dumps(asdict(self.plan))]

    def take(self, line: bytes) -> Finding | None:
        """Reads one line of the child; a finding, if it is one."""
        try:
            said = json.loads(line)
        except ValueError:
            return None  # cut off by its death
        if "finding" in said:
            return self._keep(Finding.from_dict(said["finding"]))
        if "error" in said:
            self.error = revived(said["error"])
        self.position = tuple(said.get("position", self.position))
        self.size_bytes = self._bytes_before + said.get("size_bytes", self.size_bytes - self._bytes_before)
        for name, count in said.get("counts", {}).items():
            self.counts[name] = self._counts_before.get(name, 0) + count
        self.done = bool(said.get("done", False))
        return None

    def ended(self, status: int) -> Finding | None:
        """Takes the end of the child: a crash is a finding, and `plan` then goes on behind it.

        Raises:
            StorageError: It failed otherwise.
        """
        if self.error is not None:
            raise self.error
        if self.done:
            return None
        if status >= 0:
            raise StorageError(f"cannot check {self.plan.data_dir}: the checking process ended with status {status}")
        part, place, _ = self.position
        self._crashes[part] += 1
        self._counts_before, self._bytes_before = dict(self.counts), self.size_bytes
        self.plan = self._behind(part, place)
        self.done = not self.plan.parts
        said = f"reading it ended the process ({signal.Signals(-status).name}): its pages are damaged"
        return self._keep(Finding(FindingKind.CRASH, place or self.plan.data_dir, said, RESTORE))

    def report(self, took_s: float) -> Report:
        """What was found."""
        return Report(tuple(self.findings), self.unsaid, self.counts, self.size_bytes, took_s)

    def _behind(self, part: str, place: str) -> CheckPlan:
        """What is left to check when reading `place` in `part` ended the process."""
        plan = self.plan
        if part == "records" and place != OPENING and self._crashes[part] < CRASHES_MAX:
            return replace(plan, start=(part, place, ""), skip=(*plan.skip, place))
        if part == "archive" and plan.audit:
            return replace(plan, start=("", "", ""), parts=("archive",), audit="")
        if place == OPENING and len(plan.spaces) > 1:
            # It may have been one of the others.
            return replace(plan, start=("", "", ""), spaces=(Space.CORE,))
        later = plan.parts[plan.parts.index(part) + 1 :] if part in plan.parts else ()
        if place == OPENING:
            later = tuple(each for each in later if each == "archive")
        return replace(plan, start=("", "", ""), parts=later)

    def _keep(self, finding: Finding) -> Finding | None:
        if finding in self.findings:
            return None
        if len(self.findings) >= FINDINGS_MAX:
            self.unsaid += 1
        else:
            self.findings.append(finding)
        return finding


def run_check(plan: CheckPlan, tell: Callable[[Check], None] = lambda _: None) -> Report:
    """Runs a check to its end; `tell` is called whenever it says something. Blocking.

    Raises:
        NotFound, FormatTooNew, StorageError: It cannot be checked at all.
    """
    check, begun_s = Check(plan), time.monotonic()
    while not check.done:
        child = subprocess.Popen(check.argv(), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        try:
            assert child.stdout is not None
            for line in child.stdout:
                check.take(line)
                tell(check)
            status = child.wait()
        finally:
            child.kill()
            child.wait()
            if child.stdout is not None:
                child.stdout.close()
        check.ended(status)
    return check.report(time.monotonic() - begun_s)


@contextmanager
def steady(data_dir: Path) -> Iterator[Path]:
    """A folder whose environments nobody writes: `data_dir` itself, or beside a running node a copy of them.

    Raises:
        StorageError: No room for a copy.
    """
    if holder(data_dir) is None:
        yield data_dir
        return
    spaces = [space for space in Space if (data_dir / space / DATA_FILE).exists()]
    needed = sum((data_dir / space / DATA_FILE).stat().st_size for space in spaces)
    free = filesystem.free_bytes(data_dir)
    if free < needed + _COPY_ROOM_BYTES:
        raise StorageError(
            f"cannot verify beside the running node: a copy needs {needed} bytes, {free} are free",
            hint="free space, or stop the node: then the files are read in place",
        )
    with filesystem.scratch(data_dir, _COPY) as copy:
        for space in spaces:
            env = Environment.open_readonly(data_dir / space)
            try:
                env.copy(copy / space)
            finally:
                env.close()
        yield copy


def plan_of(data_dir: Path, steady_dir: Path, *, audit: str, parts: tuple[str, ...] = PARTS) -> CheckPlan:
    """The plan of a whole check."""
    archive = data_dir / ARCHIVE
    return CheckPlan(
        data_dir=str(steady_dir),
        archive=str(archive) if archive.exists() else "",
        live_dir=str(data_dir) if steady_dir != data_dir else "",
        audit=audit,
        parts=parts,
    )
