"""The proof of storage's promises, in small: kills and flipped bits."""

import json
import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[2] / "bench" / "prove_storage.py"


def prove(*options):
    done = subprocess.run(
        [sys.executable, str(SCRIPT), "--json", *options], capture_output=True, text=True, timeout=55, check=False
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_killing_the_node_loses_nothing_acknowledged_and_leaves_no_gap():
    found = prove("--rounds", "20", "--flips", "0", "--seed", "3")
    assert found["kills"]["problems"] == []
    assert found["kills"]["rounds"] == 20
    assert found["kills"]["acknowledged"] >= 20


def test_a_flipped_bit_is_never_a_wrong_value():
    flips = prove("--rounds", "0", "--flips", "40", "--seed", "3")["flips"]
    assert flips["wrong"] == flips["missing"] == 0
    # The experiment must be able to see damage at all.
    assert flips["refused"] >= 5
    assert flips["unharmed"] >= 5
