"""Runs the figures one after the other: `python -m bench [--quick] [--json] [--check]`, as `make bench` does.

Every script measures Henslowe and its peers in the same run and prints ratios. Exit code 1 when one of them missed a
mark (`--check`), or failed. Proofs that count for minutes (`bench/prove_*.py`) have commands of their own.
"""

from __future__ import annotations

import subprocess
import sys

SCRIPTS = ("kernel", "storage", "boot", "upstream", "gateway", "edit_to_live")


def main() -> int:
    failed = []
    for name in SCRIPTS:
        print(f"== {name}", flush=True)
        if subprocess.run([sys.executable, "-m", f"bench.{name}", *sys.argv[1:]], check=False).returncode:
            failed.append(name)
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
