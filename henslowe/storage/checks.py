"""Whether a data directory is sound: structure, every record, every index both ways, the log, the archive.

Each check is a generator of findings that goes on after the first one, over an open `DataDir` or an archive's folder.
Indexes and the log are compared in one transaction: for a running node give them a copy (`check_process` does).

Damaged pages can end the process that reads them: run this in a child, as `check_process` does. What rows mean is not
known here: their owners' audits come in by name (`Audit`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Protocol, TypeAlias

from henslowe.errors import Corrupt, HensloweError, KeyRefused, NotFound
from henslowe.storage import codec, events, quarantine
from henslowe.storage.archive import Archive
from henslowe.storage.env import Environment
from henslowe.storage.env_files import FORMAT_KEY, META, verify_offline
from henslowe.storage.events import RINGS, STREAMS
from henslowe.storage.findings import RESTORE, Finding, FindingKind, Progress, hint_for
from henslowe.storage.inspection import DATA_FILE, TABLE, DataDir, key_of, records
from henslowe.storage.keys import seq_of
from henslowe.storage.partitions import Layout, Slot
from henslowe.storage.tablespec import Space
from henslowe.words import counted

_LOG: Final = re.compile(r"e\.\w+\.\d+$")
_PAGE: Final = 512


Builds: TypeAlias = Mapping[str, tuple[str, ...]]
"""Builds that must be in the archive, and the versions (`hello@3`) that need them."""


class Audit(Protocol):
    """What the owner of some tables knows about them; found by name, since storage knows no actor."""

    def audit(self, found: DataDir) -> Iterator[Finding]:
        """What is wrong with the rows."""
        ...

    def builds(self, found: DataDir) -> Builds:
        """Which builds must be in the archive, and the versions that need them."""
        ...


def check_structure(data_dir: Path, progress: Progress) -> Iterator[Finding]:
    """Whether the pages of each environment fit together. Reads files, never maps them: nothing must write them."""
    for space in Space:
        data = data_dir / space / DATA_FILE
        if not data.exists():
            continue
        place = f"{space}/{DATA_FILE}"
        progress.begin(place)
        try:
            verify_offline(data.parent, bytes_max=data.stat().st_size)
        except Corrupt as error:
            for problem in error.details.get("problems") or [error.message]:
                yield Finding(FindingKind.STRUCTURE, place, str(problem), hint_for(space))
        progress.passed(place, b"", data.stat().st_size, count="environments")


def check_records(
    found: DataDir, progress: Progress, *, start: tuple[str, bytes] = ("", b""), skip: frozenset[str] = frozenset()
) -> Iterator[Finding]:
    """Whether every record is what was written, from the place `start` on; places in `skip` are left out."""
    for space, error in found.broken.items():
        yield Finding(FindingKind.STRUCTURE, f"{space}/{DATA_FILE}", error.message, hint_for(space))
    for space, env in found.environments.items():
        for name, index in env.names().items():
            place = f"{space}/{name}"
            if index or place in skip or place < start[0]:
                continue
            progress.begin(place)
            try:
                yield from _records_of(env, name, place, progress, start[1] if place == start[0] else b"")
            except HensloweError as error:
                yield Finding(FindingKind.RECORD, place, error.message, hint_for(space))
        yield from _quarantined(space, env)


def _quarantined(space: str, env: Environment) -> Iterator[Finding]:
    try:
        for item in quarantine.items(env):
            said = f"the row of {' or '.join(map(repr, item.keys)) or 'an unknown key'} is in quarantine: {item.why}"
            hint = f"henslowe storage quarantine restore {item.id}"
            yield Finding(FindingKind.QUARANTINED, f"{space}/t.{item.table}", said, hint)
    except Corrupt:
        return  # a damaged record, said above


def _records_of(env: Environment, name: str, place: str, progress: Progress, after: bytes) -> Iterator[Finding]:
    read = count = 0
    key = b""
    for key, record in records(env, name, after + b"\x00" if after else b""):
        read, count = read + len(key) + len(record), count + 1
        if not (name == META and key == FORMAT_KEY):
            problem = _record_problem(name, key, record)
            if problem:
                hint = hint_for(place.partition("/")[0])
                if name.startswith(TABLE) and hint == RESTORE:
                    hint = "the next start moves the row aside and rebuilds it where it can"
                yield Finding(FindingKind.RECORD, place, problem, hint, key=key.hex())
        if count >= _PAGE:
            progress.passed(place, key, read, count="records", number=count)
            read = count = 0
    progress.passed(place, key, read, count="records", number=count)


def _record_problem(name: str, key: bytes, record: bytes) -> str:
    try:
        _, body = codec.unseal(key, record)
        if name.startswith(TABLE):
            codec.decode(body)
            key_of(key)
        elif _LOG.match(name):
            codec.decode(body)
    except (Corrupt, KeyRefused) as error:
        return error.message
    return ""


def check_indexes(found: DataDir, progress: Progress) -> Iterator[Finding]:
    """Whether the log's indexes list every event, and nothing else."""
    layout = Layout(found.core, RINGS)
    for stream, ring in RINGS.items():
        for number in range(ring.slots):
            place = f"core/e.{stream}.{number}"
            progress.begin(place)
            with found.core.read() as txn:
                yield from _slot_indexes(txn, layout.slot(stream, number), place, progress)


def _slot_indexes(txn: Any, slot: Slot, place: str, progress: Progress) -> Iterator[Finding]:
    expected = [0] * len(slot.indexes)
    cursors = [txn.cursor(db=index) for index in slot.indexes]
    missing: list[int] = []
    for key, record in txn.cursor(db=slot.log):
        words = _words(key, record)
        if words is None:
            continue  # a damaged record, which the check of records reports
        for at, word in enumerate(words):
            if word:
                expected[at] += 1
                if not cursors[at].set_key_dup(word, key):
                    missing.append(seq_of(key))
    if missing:
        yield Finding(
            FindingKind.INDEX, place, f"an index misses {counted(len(missing), 'event')}, {_some(missing)}", RESTORE
        )
    for at, index in enumerate(slot.indexes):
        entries = txn.stat(db=index)["entries"]
        progress.passed(place, b"", 0, count="index entries", number=entries)
        if entries != expected[at] or missing:
            yield from _surplus(txn, slot, at, place)


def _surplus(txn: Any, slot: Slot, at: int, place: str) -> Iterator[Finding]:
    surplus = []
    for word, key in txn.cursor(db=slot.indexes[at]):
        record = txn.get(key, db=slot.log)
        words = _words(key, record) if record is not None else None
        if record is None or (words is not None and words[at] != word):
            surplus.append(seq_of(key))
    if surplus:
        yield Finding(
            FindingKind.INDEX,
            place,
            f"an index lists {counted(len(surplus), 'event')} wrongly, {_some(surplus)}",
            RESTORE,
        )


def _words(key: bytes, record: bytes) -> tuple[bytes, bytes] | None:
    """What the indexes list an event under, in their order."""
    try:
        event = events.decode("", seq_of(key), codec.unseal(key, record)[1])
    except Corrupt:
        return None
    return event.type.encode(), event.service.encode()


def check_log(found: DataDir, progress: Progress) -> Iterator[Finding]:
    """Whether events are where the map of partitions says, and none is missing that was not dropped with age."""
    layout, env = Layout(found.core, RINGS), found.core
    place = "core/events"
    progress.begin(place)
    kept: list[int] = []
    with env.read() as txn:
        last, floor = layout.last_seq(txn), 0
        for stream in STREAMS:
            parts = layout.partitions(txn, stream)
            floor = max(floor, layout.dropped_before(txn, stream) - 1)
            ends = [*(part.first_seq for part in parts[1:]), last + 1]
            filled = {part.slot for part in parts}
            for part, end in zip(parts, ends, strict=False):
                log = txn.cursor(db=layout.slot(stream, part.slot).log)
                seqs = [seq_of(key) for key in log.iternext(keys=True, values=False)]
                kept += seqs
                if seqs and not part.first_seq <= seqs[0] <= seqs[-1] < end:
                    yield Finding(
                        FindingKind.LOG,
                        f"core/e.{stream}.{part.slot}",
                        f"expected events {part.first_seq} to {end - 1}, got {seqs[0]} to {seqs[-1]}",
                        RESTORE,
                    )
            for number in set(range(RINGS[stream].slots)) - filled:
                if txn.stat(db=layout.slot(stream, number).log)["entries"]:
                    yield Finding(
                        FindingKind.LOG, f"core/e.{stream}.{number}", "expected an empty partition, got events", RESTORE
                    )
    kept.sort()
    missing = _missing(kept, floor, last)
    if missing:
        total = sum(end - first + 1 for first, end in missing)
        spans = ", ".join(str(first) if first == end else f"{first} to {end}" for first, end in missing[:5])
        yield Finding(FindingKind.LOG, place, f"{total} of {counted(last, 'event')} missing: {spans}", RESTORE)
    progress.passed(place, b"", 0, count="events", number=len(kept))


def _missing(kept: list[int], floor: int, last: int) -> list[tuple[int, int]]:
    """Gaps in the sorted numbers between `floor` and `last`, both exclusive of what retention dropped."""
    gaps, expected = [], floor + 1
    for seq in kept:
        if seq > expected:
            gaps.append((expected, seq - 1))
        expected = max(expected, seq + 1)
    if expected <= last:
        gaps.append((expected, last))
    return gaps


def check_archive(
    archive: Archive, wanted: Callable[[], Builds], progress: Progress, *, start: str = ""
) -> Iterator[Finding]:
    """Whether every manifest and every object is what its name says, and all that versions need is there.

    A node may store and collect meanwhile: what is missing is looked for again before it is said.

    Args:
        archive: What is checked.
        wanted: Gives the builds that must be there now, and the versions that need them.
        progress: Told of every file.
        start: The place to begin at: objects are read in the order of their names.
    """
    builds = wanted()
    users: dict[str, list[str]] = {}
    for build_id in sorted({*archive.builds(), *builds}):
        place = f"archive/builds/{build_id}"
        try:
            build = archive.build(build_id)
        except Corrupt as error:
            yield Finding(FindingKind.BUILD, place, error.message, RESTORE, builds.get(build_id, ()))
            continue
        except NotFound as error:
            if build_id in wanted():
                yield Finding(FindingKind.BUILD, place, error.message, RESTORE, builds[build_id])
            continue
        for entry in build.files:
            users.setdefault(entry.digest, []).append(build_id)
        progress.passed(place, b"", 0, count="builds")
    unseen = set(users)
    for digest in archive.objects():
        unseen.discard(digest)
        place = f"archive/objects/{digest[:2]}/{digest}"
        if place < start:
            continue
        problem, size_bytes = archive.check_object(digest)
        if problem:
            yield _object_finding(place, problem, users.get(digest, ()), builds)
        progress.passed(place, b"", size_bytes, count="objects")
    still_there = set(archive.builds()) if unseen else set()
    for digest in sorted(unseen):
        needing = [build_id for build_id in users[digest] if build_id in still_there]
        if needing and not archive.has_object(digest):
            place = f"archive/objects/{digest[:2]}/{digest}"
            yield _object_finding(place, "the object is missing", needing, builds)


def _object_finding(place: str, problem: str, users: Iterable[str], builds: Builds) -> Finding:
    versions = {version for build_id in users for version in builds.get(build_id, ())}
    hint = "henslowe storage scrub --heal puts it back from a folder that has it, else a backup does"
    return Finding(FindingKind.OBJECT, place, problem, hint, tuple(sorted(versions)))


def _some(numbers: list[int]) -> str:
    shown = ", ".join(map(str, numbers[:5]))
    return f"{shown} and more" if len(numbers) > 5 else shown
