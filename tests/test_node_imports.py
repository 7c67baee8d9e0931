"""What a node's start may import: each of these libraries alone would make it a tenth slower, some of them a half."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

STRANGERS = ("mcp", "starlette", "uvicorn", "httpx2", "opentelemetry", "rich", "click", "jwt", "cryptography.x509")
"""What no node needs that has no issuer of tokens."""
LATER = ("mcp_types",)
"""What is loaded once it is ready."""

NODE = """
import json, sys
from pathlib import Path
from henslowe.config.loading import Override, load
from henslowe.node_run import run

seen = {}

def ready(node):
    seen["ready"] = sorted(sys.modules)
    node.stopping.set()

run(load(Path(sys.argv[1]), overrides=[Override("listen", "127.0.0.1:0", "")]), on_ready=ready)
print(json.dumps({**seen, "end": sorted(sys.modules)}))
"""


def test_a_node_is_ready_without_what_it_needs_later_or_never(tmp_path: Path) -> None:
    (tmp_path / "dev").mkdir()  # else there is a sample service, which is no part of a start
    env = {name: value for name, value in os.environ.items() if not name.startswith("HENSLOWE_")}
    done = subprocess.run(
        [sys.executable, "-c", NODE, str(tmp_path)], capture_output=True, text=True, timeout=50, env=env, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert "aiohttp" in seen["ready"]
    assert [name for name in (*STRANGERS, *LATER) if name in seen["ready"]] == []
    assert [name for name in STRANGERS if name in seen["end"]] == []
    assert set(LATER) <= set(seen["end"])
