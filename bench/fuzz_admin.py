"""schemathesis over the OpenAPI document of a whole node's admin API: no 500, and every reply as the document says.

    python bench/fuzz_admin.py [--quick] [--examples N] [--seed N]

Every operation gets generated requests, right and wrong ones, but `stop`, and the event stream, which has no end.
schemathesis is taken from PATH or, once, fetched by `uv`; what it says is printed as it is, and its exit code is ours.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.proxies import from_pypi
from tests.e2e.harness import Node, http_status

SCHEMATHESIS = "schemathesis==4.32.5"
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
LEFT_OUT = ("/admin/v1/stop", "/admin/v1/events/stream")
RUN_S = 1_200.0


def command(node: Node, options: argparse.Namespace) -> list[str]:
    """How to run it against a node."""
    token = (node.data / "admin.token").read_text().strip()
    argv = [*from_pypi(SCHEMATHESIS, "schemathesis"), "run", f"{node.url}/admin/v1/openapi.json"]
    argv += ["--header", f"Authorization: Bearer {token}", "--checks", CHECKS, "--seed", str(options.seed)]
    argv += ["--max-examples", str(options.examples), "--request-timeout", "20", "--continue-on-failure"]
    argv += [
        "--phases",
        "examples,coverage,fuzzing",
        "--warnings",
        "off",
        "--generation-database",
        "none",
        "--no-color",
    ]
    for path in LEFT_OUT:
        argv += ["--exclude-path", path]
    return argv


def main() -> int:
    """Runs the proof; the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, metavar="N", help="generated requests per operation (100; quick: 10)")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    options.examples = options.examples or (10 if options.quick else 100)
    with (
        tempfile.TemporaryDirectory(prefix="henslowe-fuzz-") as folder,
        # As fast as it goes: the limit has tests of its own.
        Node(Path(folder) / "workspace", "admin.rate_per_s=100000") as node,
    ):
        node.wait_for_active("hello", 1)
        ended = subprocess.run(command(node, options), cwd=folder, timeout=RUN_S, check=False)
        well = http_status(f"{node.url}/readyz") == 200
        log = node.logs[-1].read_text(errors="replace")
    crashed = [line for line in log.splitlines() if "admin_request_failed" in line]
    for line in crashed[:5]:
        print(line[:2_000], file=sys.stderr)
    if not well:
        print("expected the node to be ready afterwards, it is not", file=sys.stderr)
    return ended.returncode or int(bool(crashed) or not well)


if __name__ == "__main__":
    sys.exit(main())
