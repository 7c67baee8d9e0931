"""Stages that misbehave are contained, and say so; the next run is clean. Each level that works here, for real."""

import asyncio
import os
import sys
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from delivering import Node, server, stage

from henslowe.actors.pipeline import guard, isolation
from henslowe.actors.pipeline.isolation import Cage, Level, achieved
from henslowe.errors import ConfigError
from henslowe.storage import Store

LEVELS = [
    pytest.param(
        Level.BWRAP,
        marks=pytest.mark.skipif(not isolation._bwrap_works(), reason="needs bubblewrap and user namespaces"),
    ),
    pytest.param(
        Level.LANDLOCK, marks=pytest.mark.skipif(isolation.landlock_abi() < 3, reason="needs a kernel with Landlock")
    ),
]


def running(name: str) -> str:
    """A stage that runs the script of its name."""
    return stage(name, f"{sys.executable} {name}.py")


def trying(what: str) -> str:
    """A script that fails with the reason why it may not."""
    return f"import os, sys\ntry:\n    {what}\nexcept OSError as error:\n    sys.exit(str(error))\n"


@pytest.fixture(params=LEVELS)
async def caged(request: pytest.FixtureRequest, tmp_path: Path, store: Store) -> AsyncIterator[Node]:
    node = Node(tmp_path, store, isolation=request.param.value, processes_max=40, run_mib_max=32)
    await node.start()
    yield node
    await node.stop()


async def test_a_service_is_built_within_its_folders(caged: Node) -> None:
    caged.change({"server.py": server(), "test_it.py": "def test_it(tmp_path):\n    (tmp_path / 'x').write_text('')\n"})
    built = await caged.built()
    assert built.metadata["isolation"] == caged.settings.pipeline.isolation
    assert built.metadata["stages"].keys() == {"lint", "test", "mcp-check"}


async def test_a_stage_that_writes_outside_of_its_folder_fails_and_changes_nothing(caged: Node) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:  # a cage has a /tmp of its own
        script = trying(f"open({folder + '/reached'!r}, 'w')")
        caged.change({"server.py": server(), "reach.py": script, "service.toml": running("reach")})
        broken = await caged.broken()
        assert broken.stage == "reach"
        assert "/reached" in broken.reason
        assert "a stage writes only into the folders of its run" in broken.reason
        assert list(Path(folder).iterdir()) == []
    caged.change({"reach.py": "", "service.toml": ""})
    await caged.built()


async def test_a_stage_cannot_end_the_nodes_processes(caged: Node) -> None:
    if caged.settings.pipeline.isolation == "landlock" and isolation.landlock_abi() < 6:
        pytest.skip("needs Landlock that knows signals")
    sleeper = await asyncio.create_subprocess_exec("sleep", "60")
    script = trying(f"os.kill({sleeper.pid}, 9)")
    caged.change({"server.py": server(), "kill.py": script, "service.toml": running("kill")})
    assert (await caged.broken()).stage == "kill"
    assert sleeper.returncode is None
    sleeper.kill()
    await sleeper.wait()


async def test_a_fork_bomb_is_ended_and_the_next_run_is_clean(caged: Node) -> None:
    bomb = """
import os, time
for _ in range(8):
    try:
        os.fork()
    except OSError:
        pass
time.sleep(60)
"""
    caged.change({"server.py": server(), "bomb.py": bomb, "service.toml": running("bomb")})
    broken = await caged.broken()
    assert broken.stage == "bomb"
    assert "expected at most 40 processes" in broken.reason
    caged.change({"bomb.py": "", "service.toml": ""})
    await caged.built()


async def test_a_stage_that_fills_the_disk_is_ended(caged: Node) -> None:
    fill = "import time\nwith open('big', 'wb') as f:\n    f.write(bytes(64 << 20))\ntime.sleep(60)\n"
    caged.change({"server.py": server(), "fill.py": fill, "service.toml": running("fill")})
    broken = await caged.broken()
    assert broken.stage == "fill"
    assert "expected the run's folder to stay within 32 MiB" in broken.reason
    async with asyncio.timeout(5.0):
        while list((caged.store.data_dir / "runs").iterdir()):
            await asyncio.sleep(0.01)


@pytest.mark.skipif(not isolation._bwrap_works(), reason="needs bubblewrap and user namespaces")
async def test_the_nodes_own_data_are_not_there_for_a_stage(tmp_path: Path, store: Store) -> None:
    node = Node(tmp_path, store, isolation="bwrap")
    (store.data_dir / "admin.token").write_text("secret")
    await node.start()
    script = f"print(open({str(store.data_dir / 'admin.token')!r}).read())\n"
    node.change({"server.py": server(), "look.py": script, "service.toml": running("look")})
    broken = await node.broken()
    assert "No such file" in broken.reason
    assert "secret" not in broken.reason
    await node.stop()


def test_a_level_that_does_not_work_here_is_refused_by_name_and_not_by_auto(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_bwrap_works", lambda: False)
    with pytest.raises(ConfigError, match="cannot isolate stages by bwrap"):
        achieved("bwrap")
    assert achieved("auto") is (Level.LANDLOCK if isolation.landlock_abi() > 0 else Level.NONE)
    monkeypatch.setattr(isolation, "landlock_abi", lambda: 0)
    with pytest.raises(ConfigError, match="this kernel does not have it"):
        achieved("landlock")
    assert achieved("auto") is Level.NONE
    assert achieved("none") is Level.NONE


def test_without_a_cage_a_command_stays_as_it_is(tmp_path: Path) -> None:
    assert Cage().before(cwd=tmp_path, writable=[tmp_path], tmp=tmp_path) == []


def test_a_nearly_full_disk_ends_a_stage(tmp_path: Path) -> None:
    class Running:
        def count_tree(self) -> int:
            return 1

    limits = guard.Limits(processes_max=2, bytes_max=1 << 30, free_bytes_min=1 << 60)
    assert "MiB free on the disk" in guard.exceeded(Running(), tmp_path, limits)  # type: ignore[arg-type]


def test_the_size_of_a_run_counts_folders_below_and_no_links(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/big").write_bytes(os.urandom(100_000))
    (tmp_path / "loop").symlink_to(tmp_path)
    assert 100_000 <= guard._bytes_in(tmp_path, 1 << 30) < 200_000
    assert guard._bytes_in(tmp_path, 1_000) == 1_001
