"""The proof of storage's promises, in small: every section once, a little of each."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from bench.prove_storage import SECTIONS, line, merged

SCRIPT = Path(__file__).parents[2] / "bench" / "prove_storage.py"
LONGEST_S = 300
"""Seconds of all sections where others use the machine, too; alone they take twenty."""
SEEN = {
    "power": ("states", "control_bad"),
    "io_errors": ("hit", "refused", "opening refused", "cuts"),
    "kills": ("kills", "acknowledged"),
    "migrations": ("kills", "acknowledged"),
    "rotations": ("acknowledged",),
    "flips": ("unharmed", "refused"),
    "first_boot": ("states", "log_records"),
    "disk_full": (),
    "backups": (),
}
"""Figures that tell that the experiment happened at all."""


@pytest.mark.timeout(LONGEST_S)
def test_storage_keeps_its_promises():
    """All sections in one go: each process that is started for them costs more than most of the sections."""
    options = ["--quick", "--seed", "3", "--json", "--check"]
    done = subprocess.run(
        [sys.executable, str(SCRIPT), *options], capture_output=True, text=True, timeout=LONGEST_S - 5, check=False
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    sections = json.loads(done.stdout)["sections"]
    assert sections.keys() == {section.name for section in SECTIONS} == SEEN.keys()
    for name, found in sections.items():
        assert found["problems"] == [], name
        if "skipped" not in found:
            assert all(found[figure] > 0 for figure in SEEN[name]), (name, found)


def test_a_broken_promise_is_told_and_its_parts_are_added():
    section = SECTIONS[0]
    found = merged([{"states": 5, "bad": 0, "problems": []}, {"states": 7, "bad": 1, "problems": ["lost"]}])
    assert found == {"states": 12, "bad": 1, "problems": ["lost"]}
    assert line(section, found).startswith(f"BROKEN  {section.name}")
    assert line(section, found).endswith("! lost")
    assert line(section, {"states": 1, "problems": []}).startswith("held")
    assert line(section, {"skipped": "no compiler", "problems": []}).startswith("skipped")
