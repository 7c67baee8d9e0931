"""Real stores in temporary folders, with their writer running."""

import os
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from henslowe.storage import Store
from tests.storage.faults import Faults
from tests.storage.stores import OpenStore, running


@pytest.fixture
def small_disk(tmp_path):
    if os.geteuid() != 0:
        pytest.skip("mounting a small disk needs root")
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=24m", "tmpfs", str(folder)], capture_output=True, text=True, check=False
    )
    if mounted.returncode != 0:
        pytest.skip(f"this machine does not let root mount a tmpfs: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


@pytest.fixture
def faults() -> Faults:
    return Faults()


@pytest.fixture
def open_store(tmp_path: Path, faults: Faults) -> Iterator[OpenStore]:
    """Opens the test's data directory; each opening is another life of the same node.

    In memory where the system has such a folder: what a sync is worth is proved elsewhere, on the disk.
    """
    memory = Path("/dev/shm")
    with TemporaryDirectory(dir=memory if memory.is_dir() else tmp_path) as folder:
        yield lambda settings=None: running(Path(folder, "data"), faults, settings)


@pytest.fixture
async def store(open_store: OpenStore) -> AsyncIterator[Store]:
    async with open_store() as opened:
        yield opened
