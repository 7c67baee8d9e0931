"""The proofs of migrations and of rotations, in small: a node killed again and again in the middle of one."""

import tempfile
from pathlib import Path

from bench.storage_proof import migrations, rotations


def test_a_migration_that_is_killed_goes_on_and_no_row_is_lost_or_mixed_up() -> None:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        found = migrations.run(5, 11, Path(folder, "store"))
    assert found["problems"] == []
    assert found["kills"] == 5
    assert found["acknowledged"] >= 5


def test_a_renewal_of_keys_that_is_killed_loses_no_secret() -> None:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        found = rotations.run(5, 11, Path(folder, "store"))
    assert found["problems"] == []
    assert found["acknowledged"] >= 5
