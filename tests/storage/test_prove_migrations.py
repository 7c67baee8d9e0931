"""The proof of migrations, in small: a node killed again and again while it migrates."""

import tempfile
from pathlib import Path

from bench.storage_proof import migrations


def test_a_migration_that_is_killed_goes_on_and_no_row_is_lost_or_mixed_up() -> None:
    memory = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=memory if memory.is_dir() else None) as folder:
        found = migrations.run(5, 11, Path(folder, "store"))
    assert found["problems"] == []
    assert found["kills"] == 5
    assert found["acknowledged"] >= 5
