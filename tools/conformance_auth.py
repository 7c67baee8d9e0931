"""Runs the authorization scenarios of the MCP conformance suite with a node as the resource server: 25 and 14.

    make conformance                        after the server scenarios
    python tools/conformance_auth.py        with the suite in build/npm already, in some four minutes
    python tools/conformance_auth.py --only auth/scope-step-up

The client is the SDK's; how a node comes to stand where the suite's own server is: `tests/conformance/auth_client.py`.
Exits with 1 when a required scenario fails. Everything listens on loopback only.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
CLIENT: Final = ROOT / "tests" / "conformance" / "auth_client.py"
MODERN: Final = "2026-07-28"
LEGACY: Final = "2025-11-25"
BOTH: Final = (
    "auth/metadata-default",
    "auth/metadata-var1",
    "auth/metadata-var2",
    "auth/metadata-var3",
    "auth/basic-cimd",
    "auth/scope-from-www-authenticate",
    "auth/scope-from-scopes-supported",
    "auth/scope-omitted-when-undefined",
    "auth/scope-step-up",
    "auth/scope-retry-limit",
    "auth/token-endpoint-auth-basic",
    "auth/token-endpoint-auth-post",
    "auth/token-endpoint-auth-none",
    "auth/pre-registration",
)
MODERN_ONLY: Final = (
    "auth/resource-mismatch",
    "auth/offline-access-scope",
    "auth/offline-access-not-supported",
    "auth/authorization-server-migration",
    "auth/iss-supported",
    "auth/iss-not-advertised",
    "auth/iss-supported-missing",
    "auth/iss-wrong-issuer",
    "auth/iss-unexpected",
    "auth/iss-normalized",
    "auth/metadata-issuer-mismatch",
)
REQUIRED: Final = {MODERN: BOTH + MODERN_ONLY, LEGACY: BOTH}
"""As `conformance list --requirements` says; frozen with each revision."""
SCENARIO_S: Final = 90.0
"""Longest run of one; a node starts in each, so it takes some 6 s."""


def judge(npm_bin: Path, revision: str, scenario: str, folder: Path) -> tuple[bool, str]:
    """Whether a scenario passes, and what the suite said."""
    env = {**os.environ, "PATH": f"{npm_bin}{os.pathsep}{os.environ['PATH']}"}
    command = [
        str(npm_bin / "conformance"),
        "client",
        *("--command", f"{sys.executable} {CLIENT}"),
        *("--scenario", scenario),
        *("--spec-version", revision),
        *("--timeout", str(int(SCENARIO_S * 1000))),
        *("-o", str(folder)),
    ]
    done = subprocess.run(
        command, env=env, cwd=folder, capture_output=True, text=True, timeout=2 * SCENARIO_S, check=False
    )
    return done.returncode == 0, done.stdout + done.stderr


def run(npm_bin: Path, only: Sequence[str], folder: Path) -> Iterator[tuple[str, str, bool, str]]:
    """Revision, scenario, whether it passed, what was said."""
    for revision, scenarios in REQUIRED.items():
        for scenario in scenarios:
            if not only or scenario in only:
                yield revision, scenario, *judge(npm_bin, revision, scenario, folder)


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--only", action="append", default=[], metavar="SCENARIO")
    args = parser.parse_args()
    npm_bin = Path(os.environ.get("HENSLOWE_NPM_BIN") or ROOT / "build" / "npm" / "node_modules" / ".bin").absolute()
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        for revision, scenario, passed, said in run(npm_bin, args.only, Path(folder)):
            print(f"{revision}  {scenario:<40}  {'passed' if passed else 'FAILED'}", flush=True)
            if not passed:
                failed += 1
                print(said[-2_000:])
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
