"""Fills a small file system: the store refuses, reads go on, and it works again when space returns, without a restart.

Needs root: each file system is mounted in a mount namespace of its own, which ends with the child that uses it.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

from bench.storage_proof import ledger
from bench.storage_proof.ledger import Acknowledged, Ledger
from bench.storage_proof.shim import REPOSITORY
from henslowe.errors import HensloweError, StorageDegraded
from henslowe.storage import Store

DISK_MIB = 24
LEFT_BYTES = 3 << 20
LOAD_BYTES = 100_000
STEPS_MAX = 2_000
ROUNDS = 3
MOUNTS = {
    "tmpfs": 'mount -t tmpfs -o size={mib}m tmpfs "$1"',
    "ext4": 'truncate -s {mib}m "$1.image" && mkfs.ext4 -q -F -m 0 "$1.image" && mount -o loop "$1.image" "$1"',
}


class _Disk:
    """One store on a disk that is nearly full."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder, self._dice = folder, random.Random(seed)
        self._acknowledged = Acknowledged()
        self.found: Counter[str] = Counter()

    async def run(self) -> list[str]:
        """What went wrong."""
        filler = self._folder / "filler"
        # Elsewhere: on the full disk its own files could not be written.
        self._tree = self._folder.with_name(f"{self._folder.name}-tree")
        problems: list[str] = []
        async with ledger.opened(self._folder / "data") as store:
            book = Ledger(store, self._dice)
            for number in range(ROUNDS):
                with filler.open("wb") as file:
                    status = os.statvfs(self._folder)
                    os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - LEFT_BYTES)
                problems += await self._fill(store, book)
                problems += self._archive_refuses(book)
                problems += [f"while full: {one}" for one in ledger.wrong_with(store, self._acknowledged)]
                filler.unlink()
                try:
                    for _ in range(20):
                        self._acknowledged.add(await book.step())
                    self._acknowledged.add(await book.share(number + 1))
                    self._acknowledged.add(book.archive(self._tree))
                except HensloweError as error:
                    problems.append(f"still refuses after space returned: {error.message[:100]}")
                if store.info().degraded:
                    problems.append("still calls itself degraded after space returned")
        return problems + ledger.check(self._folder / "data", self._acknowledged, clean=True)

    async def _fill(self, store: Store, book: Ledger) -> list[str]:
        refused = 0
        for _ in range(STEPS_MAX):
            try:
                self._acknowledged.add(await book.step(load_bytes=LOAD_BYTES))
                self.found["acknowledged"] += 1
            except StorageDegraded:
                refused += 1
                self.found["refused"] += 1
                if refused == 50:
                    break
        if not refused:
            return ["the disk never was full"]
        if "No space left" not in store.info().degraded:
            return [f"the reason is not told: {store.info().degraded!r}"]
        return []

    def _archive_refuses(self, book: Ledger) -> list[str]:
        # What the last crumbs of space are good for.
        crumbs = self._folder / "crumbs"
        try:
            with crumbs.open("wb", buffering=0) as file:
                while file.write(bytes(4096)):
                    pass
        except OSError:
            pass
        try:
            for _ in range(10):
                self._acknowledged.add(book.archive(self._tree))
        except HensloweError:
            return []
        except OSError as error:
            return [f"the archive raised {type(error).__name__}: {error}"]
        finally:
            crumbs.unlink()
        return ["the archive stored builds on a full disk"]


def run(seed: int, folder: Path) -> dict[str, Any]:
    """Fills one disk of each kind that can be mounted here."""
    folder.mkdir(parents=True)
    found: dict[str, Any] = {}
    left_out: list[str] = []
    problems: list[str] = []
    for kind, mount in MOUNTS.items():
        told = _one(kind, mount.format(mib=DISK_MIB), seed, folder)
        problems += [f"{one} ({kind})" for one in told.pop("problems", ())]
        if "skipped" in told:
            left_out.append(f"{kind}: {told['skipped']}")
        else:
            found |= {f"{kind} {name}": value for name, value in told.items()}
    if not found and not problems:
        return {"skipped": "; ".join(left_out), "problems": []}
    return {**found, "left_out": left_out, "problems": problems}


def _one(kind: str, mount: str, seed: int, folder: Path) -> dict[str, Any]:
    if os.geteuid() != 0 or not shutil.which("unshare"):
        return {"skipped": "mounting a small disk needs root and unshare"}
    disk = folder / kind
    disk.mkdir()
    script = f'{mount} || exit 77; cd "$3" && exec "$2" -m bench.storage_proof.disk_full "$1" "$4"'
    arguments = [str(disk), sys.executable, str(REPOSITORY), str(seed)]
    done = subprocess.run(
        ["unshare", "--mount", "sh", "-c", script, "sh", *arguments], capture_output=True, text=True, check=False
    )
    if done.returncode == 77:
        return {"skipped": f"cannot mount: {done.stderr.strip()[-100:]}"}
    if done.returncode:
        return {"problems": [f"ended with {done.returncode}: {done.stderr[-300:]}"]}
    told: dict[str, Any] = json.loads(done.stdout)
    return told


if __name__ == "__main__":
    _disk = _Disk(Path(sys.argv[1]), int(sys.argv[2]))
    _problems = asyncio.run(_disk.run())
    print(json.dumps({**_disk.found, "problems": _problems}))
