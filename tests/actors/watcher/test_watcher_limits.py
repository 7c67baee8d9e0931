"""When the kernel cannot tell everything, the watcher says so, works on, and heals."""

import os
import shutil
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from watched_workspace import Workspace

from henslowe.actors.watcher import Mode


async def test_a_service_beyond_the_watch_limit_is_polled_and_watched_again_when_it_fits(workspace: Workspace) -> None:
    workspace.write("hello/server.py")
    for number in range(10):
        workspace.write(f"hello/p{number}/module.py")
    await workspace.start(watches_max=5)
    await workspace.next()
    event = await workspace.event("WATCHER_HEALTH", "DEGRADED")
    assert (event.data["mode"], event.data["problems"][0]["kind"]) == ("polling", "watch_limit")

    workspace.write("hello/p9/module.py", "edited")
    workspace.write("hello/p0/module.py", "edited")
    seen = set((await workspace.next()).changed)
    while len(seen) < 2:
        seen |= set((await workspace.next()).changed)
    assert seen == {"p0/module.py", "p9/module.py"}

    for number in range(2, 10):
        shutil.rmtree(workspace.dev / f"hello/p{number}")
    await workspace.event("WATCHER_HEALTH", "HEALTHY")
    status = await workspace.status()
    assert (status.mode, status.problems) == (Mode.INOTIFY, ())


async def test_room_for_watches_is_used_without_waiting_for_the_next_poll(workspace: Workspace) -> None:
    for number in range(10):
        workspace.write(f"hello/p{number}/module.py")
    await workspace.start(watches_max=5, poll_s=60.0)
    await workspace.next()
    await workspace.event("WATCHER_HEALTH", "DEGRADED")
    for number in range(1, 10):
        shutil.rmtree(workspace.dev / f"hello/p{number}")
    await workspace.event("WATCHER_HEALTH", "HEALTHY")
    assert (await workspace.status()).mode is Mode.INOTIFY
    assert len((await workspace.next()).changed) == 9, "what was missed is looked at"


async def test_a_folder_made_when_the_limit_is_reached_is_polled_too(workspace: Workspace) -> None:
    workspace.write("hello/server.py")
    await workspace.start(watches_max=2)
    await workspace.next()
    assert (await workspace.status()).mode is Mode.INOTIFY
    workspace.write("hello/late/module.py")
    assert (await workspace.next()).changed == ("late/module.py",)
    await workspace.event("WATCHER_HEALTH", "DEGRADED")
    workspace.write("hello/late/module.py", "edited")
    assert (await workspace.next()).changed == ("late/module.py",)
    assert (await workspace.status()).mode is Mode.POLLING


async def test_polling_never_leaves_the_scan_to_the_rescan(workspace: Workspace) -> None:
    workspace.write("hello/a/module.py")
    await workspace.start(watches_max=1, polling="never", rescan_s=1.0)
    await workspace.next()
    workspace.write("hello/a/module.py", "edited")
    assert (await workspace.next()).changed == ("a/module.py",)
    assert not (await workspace.status()).healthy


async def test_polling_always_uses_no_inotify(workspace: Workspace) -> None:
    workspace.write("hello/server.py")
    await workspace.start(polling="always")
    await workspace.next()
    status = await workspace.status()
    assert (status.mode, status.folders, status.problems) == (Mode.POLLING, 0, ())
    workspace.write("hello/server.py", "edited")
    assert (await workspace.next()).changed == ("server.py",)
    workspace.write("new/server.py")
    assert (await workspace.next()).service == "new"


@pytest.fixture
def in_memory() -> Iterator[Path]:
    """A folder in which many folders are made fast."""
    with tempfile.TemporaryDirectory(dir="/dev/shm" if Path("/dev/shm").is_dir() else None) as folder:
        yield Path(folder)


async def test_lost_events_in_a_tree_of_five_thousand_folders_are_made_good_and_leave_rest(
    workspace: Workspace, in_memory: Path
) -> None:
    (workspace.dev / "hello").symlink_to(in_memory)
    workspace.write("hello/server.py")
    for number in range(5_200):
        (workspace.dev / f"hello/g{number // 100}/p{number}").mkdir(parents=True)
    await workspace.start()
    await workspace.next()
    queue_limit = int(Path("/proc/sys/fs/inotify/max_queued_events").read_text())
    if queue_limit > 20_000:
        pytest.skip(f"expected a queue of at most 20,000 events to overflow, got {queue_limit}")

    backups = [workspace.write("hello/one~"), workspace.write("hello/two~")]
    group = workspace.watcher._actor._watches._groups["hello"]
    with group._lock:  # the reading thread stalls at the first event, as on a busy machine
        for number in range(queue_limit + 10_000):  # two files in turn: equal events in a row count once
            os.close(os.open(backups[number % 2], os.O_WRONLY))
        workspace.write("hello/late.py")

    event = await workspace.event("WATCHER_HEALTH", "DEGRADED")
    assert event.data["problems"][0]["kind"] == "overflow"
    assert (await workspace.next()).changed == ("late.py",)
    await workspace.event("WATCHER_HEALTH", "HEALTHY")
    workspace.write("hello/g51/p5199/module.py", "edited")
    assert (await workspace.next()).changed == ("g51/p5199/module.py",)
    await workspace.only_this_follows()
    left = [workspace.events.get_nowait() for _ in range(workspace.events.qsize())]
    assert [(event.status, event.data) for event in left if event.type == "WATCHER_HEALTH"] == []


async def test_a_reading_thread_that_died_is_replaced(workspace: Workspace) -> None:
    workspace.write("hello/server.py")
    await workspace.start(rescan_s=1.0)
    await workspace.next()
    source = workspace.watcher._actor._watches._source
    source.stop()
    source.join(5.0)
    workspace.write("hello/server.py", "edited while nobody listened")
    assert (await workspace.next()).changed == ("server.py",)
    await workspace.until(lambda status: status.folders == 2)
    workspace.write("hello/server.py", "edited again")
    assert (await workspace.next()).changed == ("server.py",)


async def test_a_service_with_too_many_files_is_reported_not_built(workspace: Workspace) -> None:
    for number in range(6):
        workspace.write(f"hello/m{number}.py")
    await workspace.start(files_max=5)
    event = await workspace.event("WATCHER_HEALTH", "DEGRADED")
    assert event.data["problems"][0]["kind"] == "too_large"
    assert ".henslowe-ignore" in event.data["problems"][0]["hint"]
    assert workspace.told.empty()
    workspace.write("hello/.henslowe-ignore", "m[3-5].py\n")
    assert (await workspace.next()).service == "hello"
    await workspace.event("WATCHER_HEALTH", "HEALTHY")


def open_descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


async def test_a_stopped_watcher_leaves_no_thread_and_no_descriptor(workspace: Workspace) -> None:
    workspace.write("hello/server.py")
    threads, descriptors = threading.active_count(), open_descriptors()
    await workspace.start()
    await workspace.next()
    assert threading.active_count() > threads
    await workspace.watcher.stop(block=False)
    await workspace.until_threads(threads)
    assert open_descriptors() == descriptors


def test_the_kernels_own_limit_is_noticed_and_its_end_too() -> None:
    """In a user namespace of its own, where the limit can be lowered without touching the machine's."""
    script = (
        "import os, sys, tempfile\n"
        "from pathlib import Path\n"
        "from henslowe.actors.sources import IgnoreRules\n"
        "from henslowe.actors.watcher.inotify import WatchTree\n"
        "root = Path(tempfile.mkdtemp())\n"
        "for n in range(20): (root / str(n)).mkdir()\n"
        "troubles = []\n"
        "tree = WatchTree(lambda *_: None, lambda *t: troubles.append(t[1].value))\n"
        "tree.watch('k', root, IgnoreRules())\n"
        "print(tree.is_watched('k'), sorted(set(troubles)), tree.has_room_again('k'))\n"
        "Path('/proc/sys/user/max_inotify_watches').write_text('1000')\n"
        "print(tree.has_room_again('k'))\n"
        "tree.watch('k', root, IgnoreRules())\n"
        "print(tree.is_watched('k'), tree.has_room_again('k'))\n"
        "tree.close()\n"
    )
    command = f'echo 5 > /proc/sys/user/max_inotify_watches && exec {sys.executable} -c "$0"'
    done = subprocess.run(
        ["unshare", "-Ur", "sh", "-c", command, script], capture_output=True, text=True, timeout=30, check=False
    )
    if "unshare" in done.stderr or "max_inotify_watches" in done.stderr:
        pytest.skip(f"user namespaces are not available: {done.stderr.strip()}")
    assert done.stdout.splitlines() == ["False ['watch_limit'] False", "True", "True False"], done.stderr
