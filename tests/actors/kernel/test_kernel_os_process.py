"""External commands: started with care, gone with their owner, leaving neither orphans nor zombies."""

import asyncio
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from kernel_specimens import BOUND_S, OnLoop, OnThread, eventually

from henslowe.actors.kernel import KILL, ActorExit, OsProcess, ProcessLimits, sweep_orphans
from henslowe.actors.kernel import _launcher as launcher
from henslowe.actors.kernel import _os_process as os_process
from henslowe.actors.kernel import _reaper as reaper
from henslowe.actors.kernel._procfs import children_of, read_environ, read_stat
from henslowe.errors import LaunchFailed

LEAVE_SESSION = """
import os, sys, time
if os.fork():
    os._exit(0)          # its child is an orphan now
os.setsid()              # in a session of its own
print(os.getpid(), flush=True)
time.sleep(600)
"""


@pytest.fixture(autouse=True)
async def _tidy(monkeypatch):
    """Ends what a test has started and closes its pipes, read or not."""
    spawned = []
    spawn = OsProcess.spawn

    async def remembered(*args, **kwargs):
        spawned.append(await spawn(*args, **kwargs))
        return spawned[-1]

    monkeypatch.setattr(OsProcess, "spawn", remembered)
    yield
    for process in spawned:
        process.kill_tree()
        await process.wait()
        process.close_pipes()
    await asyncio.sleep(0)


def runs(pid: int) -> bool:
    stat = read_stat(pid)
    return stat is not None and stat.state != "Z"


def descriptors() -> set[str]:
    return {path.name for path in Path("/proc/self/fd").iterdir()}


async def first_number(process: OsProcess) -> int:
    async with asyncio.timeout(BOUND_S):
        return int(await process.stdout.readline())


async def test_a_command_speaks_through_its_pipes_and_ends_with_its_input():
    process = await OsProcess.spawn(["cat"])
    process.stdin.write(b"to be\n")
    await process.stdin.drain()
    assert await process.stdout.readline() == b"to be\n"
    process.close_stdin()
    assert await process.wait() == 0
    assert process.returncode == 0
    assert not process.is_running()
    assert await process.stdout.read() == b""


async def test_output_of_a_command_that_has_ended_can_still_be_read():
    process = await OsProcess.spawn(["sh", "-c", "echo out; echo err >&2; exit 3"], stdin=False)
    assert await process.wait() == 3
    assert await process.stdout.read() == b"out\n"
    assert await process.stderr.read() == b"err\n"
    assert process.stdin is None


async def test_standard_error_can_join_standard_output():
    process = await OsProcess.spawn(["sh", "-c", "echo err >&2"], stdin=False, stderr=subprocess.STDOUT)
    assert await process.stdout.read() == b"err\n"
    assert process.stderr is None
    await process.wait()


async def test_environment_and_folder_are_the_callers_plus_the_marks(tmp_path):
    process = await OsProcess.spawn(
        ["sh", "-c", "pwd; env"], stdin=False, cwd=tmp_path, env={"PATH": os.defpath, "X": "1"}, marker="node:7"
    )
    folder, *lines = (await process.stdout.read()).decode().splitlines()
    assert folder == str(tmp_path)
    assert {"X=1", "HENSLOWE_NODE=node:7", f"HENSLOWE_PROC={process.id}"} <= set(lines)
    assert "HOME" not in {line.partition("=")[0] for line in lines}
    await process.wait()


@pytest.mark.parametrize(
    ("argv", "cwd", "said"),
    [
        (["no-such-command-here"], None, "no such executable"),
        (["/etc/passwd"], None, "no such executable"),
        ([], None, "expected a command"),
        (["true"], "/no/such/folder", "not a folder"),
    ],
)
async def test_a_command_that_cannot_start_is_an_error_that_says_why(argv, cwd, said):
    with pytest.raises(LaunchFailed, match=said):
        await OsProcess.spawn(argv, cwd=cwd)


async def test_a_dead_owner_starts_nothing():
    owner = await OnLoop.start_link()
    owner.exit(KILL)
    with pytest.raises(ActorExit):
        await OsProcess.spawn(["sleep", "600"], owner=owner)


async def test_stop_asks_first_and_kills_what_does_not_listen():
    polite = await OsProcess.spawn(["sleep", "600"], stdin=False)
    assert await polite.stop(grace_s=BOUND_S) == -signal.SIGTERM
    deaf = await OsProcess.spawn(["sh", "-c", "trap '' TERM; echo ready; while :; do sleep 600; done"], stdin=False)
    assert await deaf.stdout.readline() == b"ready\n"
    assert await deaf.stop(grace_s=0.05) == -signal.SIGKILL
    assert await deaf.stop() == -signal.SIGKILL
    polite.kill_tree()


@pytest.mark.parametrize("kind", [OnLoop, OnThread])
async def test_the_owners_death_takes_the_tree_along(kind):
    owner = await kind.start_link()
    process = await OsProcess.spawn(["sh", "-c", "sleep 600 & echo $!; wait"], owner=owner)
    grandchild = await first_number(process)
    owner.exit(KILL)
    assert await asyncio.wait_for(process.wait(), BOUND_S) == -signal.SIGKILL
    await eventually(lambda: not runs(grandchild))


async def test_a_grandchild_in_another_session_whose_parent_is_gone_is_killed_too():
    process = await OsProcess.spawn(["sh", "-c", f"{sys.executable} -c '{LEAVE_SESSION}'; sleep 600"], stdin=False)
    escaped = await first_number(process)
    await eventually(lambda: read_stat(escaped).ppid == os.getpid())  # adopted by the node
    assert read_stat(escaped).session != process.pid
    process.kill_tree()
    await process.wait()
    await eventually(lambda: not runs(escaped))


async def test_a_grandchild_that_hides_its_environment_is_found_through_its_parent():
    process = await OsProcess.spawn(["sh", "-c", "env -i setsid sleep 600 & echo $!; wait"], stdin=False)
    hidden = await first_number(process)
    await eventually(lambda: read_stat(hidden).session == hidden and read_environ(hidden) == {})
    process.kill_tree()
    await process.wait()
    await eventually(lambda: not runs(hidden))


async def test_a_hidden_grandchild_whose_parent_is_gone_is_known_from_before(monkeypatch):
    monkeypatch.setattr(os_process, "REAP_EVERY_S", 0.02)
    monkeypatch.setattr(os_process, "tag_of", lambda _: 0)  # where message queues are limited too low for tags
    process = await OsProcess.spawn(
        ["sh", "-c", "(env -i setsid sleep 600 & echo $!; sleep 0.2) & wait; sleep 600"], stdin=False
    )
    hidden = await first_number(process)
    await eventually(lambda: read_stat(hidden).ppid == os.getpid() and read_environ(hidden) == {})
    process.kill_tree()
    await process.wait()
    await eventually(lambda: not runs(hidden))


DAEMON = """
import os, sys, time
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        print(os.getpid(), flush=True)
        for fd in range(3):
            os.close(fd)
        os.execve("/bin/sleep", ["sleep", "600"], {})
    os._exit(0)
time.sleep(600)
"""


@pytest.mark.parametrize("bare", [False, True], ids=["setpriv", "bare python"])
async def test_a_daemon_that_sheds_everything_at_once_is_killed_with_its_command(monkeypatch, bare):
    if bare:
        monkeypatch.setattr(launcher, "_which", lambda _: None)
    process = await OsProcess.spawn([sys.executable, "-S", "-c", DAEMON])
    daemon = await first_number(process)
    await eventually(lambda: read_stat(daemon).ppid == os.getpid() and not read_environ(daemon))
    process.kill_tree()
    await process.wait()
    await eventually(lambda: not runs(daemon))


async def test_a_daemon_of_one_command_outlives_another_command():
    first, second = [await OsProcess.spawn([sys.executable, "-S", "-c", DAEMON]) for _ in range(2)]
    daemons = [await first_number(process) for process in (first, second)]
    await eventually(lambda: all(read_stat(daemon).ppid == os.getpid() for daemon in daemons))
    first.kill_tree()
    await eventually(lambda: not runs(daemons[0]))
    assert runs(daemons[1])
    second.kill_tree()
    await second.wait()
    await eventually(lambda: not runs(daemons[1]))


async def test_what_a_command_leaves_running_ends_with_it():
    process = await OsProcess.spawn(["sh", "-c", "setsid sleep 600 & echo $!"], stdin=False)
    left = await first_number(process)
    assert await process.wait() == 0
    await eventually(lambda: not runs(left))


async def test_a_sweep_takes_only_the_descendants_of_its_own_process():
    first = await OsProcess.spawn(["sh", "-c", "setsid sleep 600 & echo $!; wait"], stdin=False)
    second = await OsProcess.spawn(["sh", "-c", "setsid sleep 600 & echo $!; wait"], stdin=False)
    bystander = subprocess.Popen(["sleep", "600"], start_new_session=True)
    mine, other = await first_number(first), await first_number(second)
    first.kill_tree()
    await first.wait()
    await eventually(lambda: not runs(mine))
    assert runs(other)
    assert runs(second.pid)
    assert bystander.poll() is None
    second.kill_tree()
    await second.wait()
    bystander.kill()
    bystander.wait()


async def test_adopted_orphans_are_reaped_and_other_peoples_children_are_not(monkeypatch):
    monkeypatch.setattr(os_process, "REAP_EVERY_S", 0.05)
    foreign = subprocess.Popen(["true"])
    process = await OsProcess.spawn(["sh", "-c", f"{sys.executable} -c '{LEAVE_SESSION}'; sleep 600"], stdin=False)
    escaped = await first_number(process)
    await eventually(lambda: read_stat(escaped).ppid == os.getpid())
    process.kill_tree()
    await process.wait()
    await eventually(lambda: read_stat(escaped) is None)  # not even a zombie
    assert read_stat(foreign.pid).state == "Z"
    assert foreign.wait() == 0


def test_an_unknown_zombie_of_another_session_is_reaped_after_its_time_of_grace():
    reaper.become_subreaper()
    stranger = subprocess.Popen(["true"], start_new_session=True)
    async_deadline = threading.Event()
    while read_stat(stranger.pid).state != "Z":
        async_deadline.wait(0.005)
    reaper.reap_orphans(now=100.0)
    assert read_stat(stranger.pid) is not None
    reaper.reap_orphans(now=100.0 + reaper.STRANGER_GRACE_S)
    assert read_stat(stranger.pid) is None
    stranger.wait()


async def test_asyncios_own_children_keep_their_exit_status():
    process = await OsProcess.spawn(["sleep", "600"], stdin=False)
    theirs = await asyncio.create_subprocess_exec("sh", "-c", "exit 42", start_new_session=True)
    reaper.reap_orphans()
    assert await theirs.wait() == 42
    await process.stop()


async def test_a_process_dies_with_the_node_that_was_killed(tmp_path):
    script = tmp_path / "node.py"
    script.write_text(
        "import asyncio\n"
        "from henslowe.actors.kernel import OsProcess\n"
        "async def main():\n"
        "    process = await OsProcess.spawn(['sleep', '600'], stdin=False, marker='gone:1')\n"
        "    print(process.pid, flush=True)\n"
        "    await process.wait()\n"
        "asyncio.run(main())\n"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    node = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, env=environment)
    child = int(node.stdout.readline())
    # Before it is `sleep` it is still asking for the signal; what dies in that millisecond is left to the boot sweep.
    await eventually(lambda: Path(f"/proc/{child}/comm").read_text() == "sleep\n")
    node.kill()
    node.wait()
    node.stdout.close()
    await eventually(lambda: not runs(child))


async def test_the_sweep_at_boot_kills_other_incarnations_only():
    processes = {
        mark: await OsProcess.spawn(["sleep", "600"], stdin=False, marker=mark)
        for mark in ("sweep-a:1", "sweep-a:2", "sweep-a:3", "sweep-ab:1")
    }
    for process in processes.values():  # a process has no environment in the moment in which it becomes the command
        await eventually(lambda pid=process.pid: Path(f"/proc/{pid}/comm").read_text() == "sleep\n")
    killed = sweep_orphans("sweep-a", 3)
    assert set(killed) == {processes["sweep-a:1"].pid, processes["sweep-a:2"].pid}
    for mark in ("sweep-a:1", "sweep-a:2"):
        assert await processes[mark].wait() == -signal.SIGKILL
    assert runs(processes["sweep-a:3"].pid)
    assert runs(processes["sweep-ab:1"].pid)
    assert sweep_orphans("sweep-a", 3) == []
    for process in processes.values():
        await process.stop()


async def test_limits_are_set_before_the_command_starts():
    limits = ProcessLimits(open_files=50, file_bytes=1024, cpu_s=60)
    process = await OsProcess.spawn(
        ["sh", "-c", "ulimit -n; ulimit -f; ulimit -t; ulimit -c"], stdin=False, limits=limits
    )
    assert (await process.stdout.read()).split() == [b"50", b"2", b"60", b"0"]
    assert await process.wait() == 0


async def test_without_setpriv_a_bare_python_arranges_the_same(monkeypatch):
    monkeypatch.setattr(launcher, "_which", lambda _: None)
    process = await OsProcess.spawn(["sh", "-c", "echo $$; exec sleep 600"])
    assert await first_number(process) == process.pid
    assert (await process.stop(grace_s=BOUND_S)) == -signal.SIGTERM


async def test_many_processes_leave_no_descriptors_and_no_children_behind():
    before = descriptors()
    children = set(children_of(os.getpid()))
    for _ in range(5):
        batch = [await OsProcess.spawn(["true"], stdin=True) for _ in range(4)]
        for process in batch:
            assert await process.wait() == 0
            assert await process.stdout.read() == b""
            assert await process.stderr.read() == b""
    await eventually(lambda: len(descriptors()) <= len(before))
    assert set(children_of(os.getpid())) <= children


async def test_unread_output_of_a_killed_owners_process_is_dropped():
    owner = await OnLoop.start_link()
    process = await OsProcess.spawn(["sh", "-c", "yes"], owner=owner, line_bytes_max=1024)
    assert await process.stdout.readline() == b"y\n"
    owner.exit(KILL)
    await process.wait()
    await eventually(lambda: all(transport.is_closing() for transport in process._transports))
