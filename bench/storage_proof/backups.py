"""Backs up a store while another process writes it as fast as it can, restores each backup, and compares bytes.

The writer counts rows, appends events, archives trees, names their builds in a table, and collects what it names no
more. Each round makes a backup (a folder, again onto the same folder, a `.tar.zst`), checks it, restores it, and asks:
is every event up to the backup's moment there, byte for byte as in the store it came from; are the rows what that
history says; is every build that the tables name there, and whole; is nothing in the restored store but that, and the
one event that says it was restored? Last, with the writer stopped, all records of both stores must be the same bytes.

Then backups are damaged, bit by bit and file by file: restoring one must be refused, and change nothing.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import random
import shutil
import signal
import traceback
from collections import Counter
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from bench.storage_proof import ledger
from bench.storage_proof.ledger import Acknowledged, Ledger
from henslowe.errors import HensloweError
from henslowe.storage import Archive, Store, TableSpec
from henslowe.storage.backup import back_up, verify_backup
from henslowe.storage.checks import Builds
from henslowe.storage.inspection import DataDir, records
from henslowe.storage.restore import restore_backup

APPENDERS = 4
TREES = 6
GRACE_S = 5.0
"""A backup's second look at the archive is sooner than that."""
PAUSE_S = 0.005
"""Between the steps of an appender: what is written while a backup is checked has to be compared, too."""
MARGIN_EVENTS = 200
"""Written between two backups at least."""
_OWN = (b"seq",)
"""In `meta`: the end of the log, which the event of the restore moves."""


class Named(BaseModel, frozen=True):
    """A build that must not be collected."""

    tree: int
    build: str


NAMED = TableSpec(name="named", row_type=Named, key="tree")


def builds(found: DataDir) -> Builds:
    """What the tables name, as the version machine would say it."""
    return {row.build: (f"tree@{row.tree}",) for row in found.typed(NAMED)}


# -- the writer ----------------


async def _write(folder: Path, acks: int, seed: int) -> None:
    stopping = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stopping.set)
    dice = random.Random(seed)
    async with ledger.opened(folder) as store:
        book, named = Ledger(store, dice), store.table(NAMED)

        async def count() -> None:
            while not stopping.is_set():
                os.write(acks, json.dumps(await book.step()).encode() + b"\n")
                await asyncio.sleep(PAUSE_S)

        async def archive() -> None:
            for number in itertools.count():
                if stopping.is_set():
                    return
                tree = dice.randrange(TREES)
                told = await asyncio.to_thread(book.archive, folder.parent / f"tree{tree}")
                await named.insert(Named(tree=tree, build=told["build"]))
                os.write(acks, json.dumps(await book.share(number)).encode() + b"\n")
                await asyncio.sleep(PAUSE_S)
                pins = {row.build for row in named.rows()}
                await asyncio.to_thread(store.archive.gc, pins=pins, grace_s=GRACE_S)

        await asyncio.gather(archive(), *(count() for _ in range(APPENDERS)))


class _Writer:
    """The writing process."""

    def __init__(self, folder: Path, seed: int) -> None:
        reader, writer = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            code = 70
            try:
                os.close(reader)
                asyncio.run(_write(folder, writer, seed))
                code = 0
            except BaseException:
                traceback.print_exc()
                raise
            finally:
                os._exit(code)
        os.close(writer)
        self._acks = os.fdopen(reader, "rb")
        self.acknowledged = Acknowledged()

    def go_on(self, events: int) -> None:
        """Lets it write until `events` more are acknowledged."""
        goal = self.acknowledged.seq + events
        while self.acknowledged.seq < goal:
            line = self._acks.readline()
            if not line:
                raise SystemExit("the writer ended by itself")
            self.acknowledged.add(json.loads(line))

    def stop(self) -> None:
        """Ends it in an orderly way."""
        os.kill(self._pid, signal.SIGTERM)
        for line in self._acks:
            self.acknowledged.add(json.loads(line))
        self._acks.close()
        _, status = os.waitpid(self._pid, 0)
        if status != 0:
            raise SystemExit(f"the writer ended with status {status}")


# -- judging ----------------


def _raw(folder: Path) -> dict[str, list[tuple[bytes, bytes]]]:
    """Every record of the tables and the log."""
    with DataDir.open(folder) as found:
        return {name: list(records(found.core, name, dup=index)) for name, index in found.core.names().items()}


def _history(folder: Path, last_seq: int) -> list[Any]:
    with DataDir.open(folder) as found:
        return [event for event in found.events().scan(streams=("lifecycle",)) if event.seq <= last_seq]


def _wrong_restored(backup: Path, restored: Path, last_seq: int) -> list[str]:
    """What differs between a backup and the store made of it, beyond the event that says so."""
    wrong = []
    before, after = _raw(backup), _raw(restored)
    if before.keys() != after.keys():
        return ["the restored store has other sub-databases"]
    added = last_seq + 1
    for name, items in after.items():
        found = dict(items) if not name.endswith((".type", ".service")) else None
        if name == "t.lives":
            continue
        if name == "meta":
            kept = [item for item in items if item[0] not in _OWN]
            if kept != [item for item in before[name] if item[0] not in _OWN]:
                wrong.append("meta was changed")
            continue
        new, lost = set(items) - set(before[name]), set(before[name]) - set(items)
        allowed = 1 if name in ("e.lifecycle.0", "e.lifecycle.0.type") else 0
        if lost or len(new) > allowed:
            wrong.append(f"{name}: {len(lost)} records lost, {len(new)} new")
        if name == "e.lifecycle.0" and (found is None or added.to_bytes(8, "big") not in found):
            wrong.append("the restore is not in the log")
    return wrong


def _wrong_as_store(backup: Path, copy: Path, acknowledged: Acknowledged) -> list[str]:
    """What is wrong with a backup that is taken for a data directory: rows, history, indexes, context."""
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(backup, copy)
    store = Store.open(copy, ledger.NODE, ledger.SETTINGS)
    try:
        return ledger.wrong_with(store, acknowledged)
    finally:
        store.close()


def _wrong_builds(folder: Path) -> list[str]:
    archive = Archive(folder / "archive")
    with DataDir.open(folder) as found:
        named = builds(found)
    wrong = []
    for build in named:
        try:
            archive.verify(build)
        except HensloweError as error:
            wrong.append(f"build {build:.12}: {error.message}")
    return wrong


def _round(number: int, folder: Path, writer: _Writer, found: Counter[str]) -> list[str]:
    source = folder / "data"
    path = folder / ("backup.tar.zst" if number % 2 else "backup")
    promised = Acknowledged(writer.acknowledged.seq, writer.acknowledged.context)
    made = back_up(source, path, builds=builds)
    manifest, report = verify_backup(path, audit="")
    wrong = [f"the backup: {finding.place}: {finding.message}" for finding in report.findings]
    restored = folder / f"restored{number}"
    done = restore_backup(path, restored, audit="")
    last_seq = manifest.last_seq
    found["events"] += last_seq
    found["builds"] += len(manifest.builds)
    if last_seq < promised.seq:
        wrong.append(f"lost {promised.seq - last_seq} events that were acknowledged before it began")
    if _history(source, last_seq) != _history(restored, last_seq):
        wrong.append("the history is not that of the store")
    if done.incarnation <= manifest.incarnation or made.manifest != manifest:
        wrong.append("the restored store is no new life")
    wrong += _wrong_builds(restored)
    if path.is_dir():
        wrong += _wrong_restored(path, restored, last_seq)
        wrong += _wrong_as_store(path, folder / "copy", promised)
    store = Store.open(restored, ledger.NODE, ledger.SETTINGS)
    if store.incarnation <= done.incarnation or store.events.last_seq() != last_seq + 1:
        wrong.append("the restored store does not go on behind the backup")
    store.close()
    shutil.rmtree(restored)
    return [f"{one} (backup {number})" for one in wrong]


def _damaged(path: Path, folder: Path, dice: random.Random) -> list[str]:
    """Damages a copy of a backup in one place; what is wrong when it is restored all the same."""
    copy, target = folder / "damaged", folder / "target"
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(path, copy)
    files = sorted(each for each in copy.rglob("*") if each.is_file() and each.name != "lock.mdb")
    victim = dice.choice(files)
    content = bytearray(victim.read_bytes())
    victim.chmod(0o600)
    if dice.random() < 0.3:
        victim.unlink()
    elif dice.random() < 0.3:
        victim.write_bytes(content[: dice.randrange(len(content))])
    else:
        content[dice.randrange(len(content))] ^= 1 << dice.randrange(8)
        victim.write_bytes(content)
    try:
        restore_backup(copy, target, audit="")
    except HensloweError:
        return [f"a refused restore left {target}"] if target.exists() else []
    same = _raw(target).keys() == _raw(path).keys() and not _wrong_restored(path, target, _last_seq(path))
    shutil.rmtree(target)
    # A flipped bit of the time in the manifest, say, changes nothing that is stored.
    return [] if same and victim.name == "manifest.json" else [f"damage of {victim.name} was restored"]


def _last_seq(path: Path) -> int:
    return int(json.loads((path / "manifest.json").read_text())["last_seq"])


def run(rounds: int, seed: int, folder: Path) -> dict[str, Any]:
    """Backs up `rounds` times beside a writer, then damages as many backups."""
    dice = random.Random(seed)
    found: Counter[str] = Counter()
    problems: list[str] = []
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    writer = _Writer(folder / "data", seed)
    try:
        for number in range(rounds):
            writer.go_on(MARGIN_EVENTS)
            problems += _round(number, folder, writer, found)
    finally:
        writer.stop()
    still = folder / "still"
    back_up(folder / "data", still, builds=builds)
    if _raw(folder / "data") != _raw(still):
        problems.append("a backup of a store at rest has other bytes")
    for _ in range(rounds):
        problems += _damaged(still, folder, dice)
    return {"backups": rounds + 1, "damaged": rounds, **found, "problems": problems}
