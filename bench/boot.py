"""How long a node with a long history takes until it is ready, after a clean stop and after being killed.

    python bench/boot.py [--quick] [--json] [--check] [--rounds N]

A real workspace is made by a real node (its sample service built and serving), and stopped. Then a history is written
into its store, with the store's own API: a million events, and ten thousand archived versions of five hundred services,
each version with its row, its event, its build in the archive and its folder in the workspace. `henslowe up` is then
started on it again and again, ended in turn by SIGTERM and by SIGKILL: measured is the time from the start of the
process until it says that it is ready, and how long `henslowe status` takes meanwhile. The node is ready when its
listeners are open: the service that served before is being started then, and calls to it wait for that.

`--check` fails above 3 s after a clean stop, 15 s after an unclean one, 0.3 s for a status. `--quick`: a tenth of it
all, which says nothing of the marks.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import random
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from henslowe.actors.kernel import Scheduler
from henslowe.actors.versions import SERVICES
from henslowe.actors.versions.rows import VERSIONS, ServiceRow, VersionRow, VersionState
from henslowe.storage import EventDraft, Store

EVENTS, SERVICE_COUNT, VERSIONS_EACH = 1_000_000, 500, 20
BATCH = 1_000
CLEAN_S_MAX, UNCLEAN_S_MAX, STATUS_S_MAX = 3.0, 15.0, 0.3
READY_S_MAX = 180.0
STATUS_ASKED = 5
UNHEALTHY = 4
"""Exit status of `henslowe status` while a service is starting."""
DATA = {"requests": 1234, "errors": 2, "p50_ms": 1.2, "p99_ms": 9.8, "by": {"rule": "slo", "threshold": 0.02}}


# -- the history ----------------


async def write_history(workspace: Path, scale: int) -> None:
    """Adds events and archived versions to a store whose node was stopped."""
    Scheduler.install()
    store = Store.open(workspace / ".henslowe", "n1")
    spec = store.child_spec()
    writer = await spec.actor.start_link(*spec.args, **spec.kwargs, parent=None)
    assert writer is not None, "it is started, not ignored"
    services, versions = store.table(SERVICES), store.table(VERSIONS)
    template = versions.rows()[0]
    dice = random.Random(1)
    with _unflushed():
        for number in range(SERVICE_COUNT // scale):
            rows = [_version(store, workspace, template, f"service{number}", one) for one in range(VERSIONS_EACH)]
            last = ServiceRow(
                service=rows[0].service,
                epoch=VERSIONS_EACH,
                last_number=VERSIONS_EACH,
                permanent=VERSIONS_EACH,
                retired=True,
                semvers=tuple(row.semver for row in rows),
            )
            txn = store.transaction()
            txn.put(services, last)
            for row in rows:
                txn.put(versions, row)
                said = {"row": row.model_dump(mode="json")}
                if row is rows[-1]:
                    said["service_row"] = last.model_dump(mode="json")
                txn.append(EventDraft("lifecycle", "ARCHIVED", "SUCCESS", row.service, row.number, said))
            await txn.commit()
    for _ in range(EVENTS // scale // BATCH):
        txn = store.transaction()
        for _ in range(BATCH):
            stream = "output" if dice.random() < 0.3 else "activity"
            service = f"service{dice.randrange(SERVICE_COUNT)}"
            txn.append(EventDraft(stream, f"TYPE_{dice.randrange(12)}", "INFO", service, 1, DATA))
        await txn.commit()
    await writer.stop(block=False)
    store.close()


def _version(store: Store, workspace: Path, template: VersionRow, service: str, number: int) -> VersionRow:
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "server.py").write_text(f"# {service} {number}\n")
        Path(folder, "shared.py").write_text("# the same in all\n")
        build = store.archive.put(Path(folder)).build_id
    semver = f"1.0.{number}"
    store.archive.materialise(build, workspace / "archive" / service / f"v{semver}")
    changes: dict[str, Any] = {"service": service, "number": number + 1, "state": VersionState.ARCHIVED}
    changes |= {"semver": semver, "build": build, "folder": f"v{semver}", "probation": False, "source_digest": build}
    return template.model_copy(update=changes)


@contextmanager
def _unflushed() -> Iterator[None]:
    """Ten thousand builds, each flushed, would take an hour on a busy disk; they are flushed together at the end."""
    flush = os.fsync
    os.fsync = lambda _: None  # type: ignore[assignment]
    try:
        yield
    finally:
        os.fsync = flush
        os.sync()


# -- the node ----------------


class Node:
    """A node's process, from its start until it is ended."""

    def __init__(self, workspace: Path) -> None:
        self._workspace = workspace
        command = [sys.executable, "-m", "henslowe", "up", str(workspace), "--listen", "127.0.0.1:0", "--json"]
        started = time.perf_counter()
        # Its words are kept in a file: a pipe that nobody reads would stop it.
        self._log = (workspace.parent / "node.log").open("ab")
        self._process = subprocess.Popen(
            [*command, "--name", "n1"], stdout=subprocess.PIPE, stderr=self._log, text=True, start_new_session=True
        )
        assert self._process.stdout is not None
        self.told = json.loads(self._process.stdout.readline() or "{}")
        self.ready_s = time.perf_counter() - started
        if not self.told:
            raise SystemExit(f"the node did not start: {(workspace.parent / 'node.log').read_text()[-2000:]}")

    def status_s(self) -> float:
        """Seconds that `henslowe status` takes, process and all."""
        started = time.perf_counter()
        command = [sys.executable, "-m", "henslowe", "status", "--json"]
        done = subprocess.run(command, cwd=self._workspace, capture_output=True, text=True, check=False)
        spent = time.perf_counter() - started
        if done.returncode not in (0, UNHEALTHY):
            raise SystemExit(f"henslowe status failed: {done.stdout}{done.stderr}")
        return spent

    def serves(self) -> bool:
        """Whether the sample service is up."""
        command = [sys.executable, "-m", "henslowe", "status", "--json"]
        done = subprocess.run(command, cwd=self._workspace, capture_output=True, text=True, check=False)
        return done.returncode == 0 and '"ready"' in done.stdout

    def end(self, how: signal.Signals) -> None:
        """Ends it, and waits until it is gone."""
        self._process.send_signal(how)
        self._process.wait(READY_S_MAX)
        self._log.close()


def measure(folder: Path, rounds: int, scale: int) -> dict[str, Any]:
    """Seconds until ready after each kind of stop, and of a status."""
    workspace = folder / "workspace"
    node = Node(workspace)
    end = time.monotonic() + READY_S_MAX
    while not node.serves():
        if time.monotonic() > end:
            raise SystemExit("the sample service never came up")
        time.sleep(0.5)
    node.end(signal.SIGTERM)
    asyncio.run(write_history(workspace, scale))
    found: dict[str, list[float]] = {"clean": [], "unclean": [], "status": []}
    after = "clean"
    for number in range(2 * rounds):
        node = Node(workspace)
        found[after].append(node.ready_s)
        found["status"] += [node.status_s() for _ in range(STATUS_ASKED)]
        after = "clean" if number % 2 else "unclean"
        node.end(signal.SIGTERM if after == "clean" else signal.SIGKILL)
    return {
        "events": EVENTS // scale,
        "versions": SERVICE_COUNT // scale * VERSIONS_EACH,
        "core_mib": round((workspace / ".henslowe" / "core" / "data.mdb").stat().st_size / (1 << 20)),
        **{f"{name}_s": statistics.median(seconds) for name, seconds in found.items()},
        "worst": {name: max(seconds) for name, seconds in found.items()},
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="a tenth of the history, one round")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help="fail where a mark is missed")
    parser.add_argument("--rounds", type=int, default=0)
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="bench-boot-"))
    try:
        found = measure(folder, options.rounds or (1 if options.quick else 3), 10 if options.quick else 1)
    finally:
        subprocess.run(["chmod", "-R", "u+w", str(folder)], check=True)
        shutil.rmtree(folder)
    limits = {"clean_s": CLEAN_S_MAX, "unclean_s": UNCLEAN_S_MAX, "status_s": STATUS_S_MAX}
    held = all(found[name] <= limit for name, limit in limits.items())
    if options.json:
        print(json.dumps({**found, "held": held}))
    else:
        print(f"{found['events']:,} events, {found['versions']:,} versions, {found['core_mib']} MiB")
        titles = {"clean_s": "ready after a clean stop", "unclean_s": "ready after SIGKILL", "status_s": "status"}
        for name, title in titles.items():
            verdict = "ok" if found[name] <= limits[name] else "MISSED"
            worst = found["worst"][name.removesuffix("_s")]
            print(f"{title:26} {found[name]:>7.2f} s  worst {worst:.2f}  {verdict} (at most {limits[name]:g})")
    return 1 if options.check and not held else 0


if __name__ == "__main__":
    sys.exit(main())
