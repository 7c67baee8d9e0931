"""Secrets reach the servers that refer to them, developed ones and declared ones, and nobody else."""

import hashlib
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from henslowe.errors import HensloweError
from tests.e2e.harness import Node, server
from tests.e2e.load import client

VALUE = "s3cr3t-of-ada"
DIGEST = '''
@server.tool()
def digest() -> str:
    """What the server was given, without telling."""
    import hashlib, os

    return hashlib.sha256(os.environ["TOKEN"].encode()).hexdigest()[:16]
'''


def digesting() -> str:
    """A server that needs a secret, and proves that it has it."""
    return "import os\nassert os.environ['TOKEN'] != 'secret:token'\n" + server().replace(
        '\n\nif __name__ == "__main__":\n', DIGEST + '\n\nif __name__ == "__main__":\n'
    )


@contextmanager
def listening() -> Iterator[tuple[str, list[str]]]:
    """A web server that takes note of what it is shown, and lets nobody in."""
    shown: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            shown.append(self.headers.get("Authorization", ""))
            self.send_response(403)
            self.send_header("Content-Length", "0")
            self.end_headers()

        do_GET = do_POST

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as web:
        threading.Thread(target=web.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{web.server_port}/mcp", shown
        web.shutdown()


def test_a_header_that_refers_to_a_secret_is_sent_with_it(workspace: Path) -> None:
    workspace.mkdir()
    with listening() as (url, shown):
        (workspace / "henslowe.toml").write_text(
            f"[services.far]\nurl = {url!r}\nheaders = {{ Authorization = 'Bearer secret:token' }}\n"
        )
        with Node(workspace) as node:
            node.wait_for_state("far", 1, "FAILED")
            # Without the secret nothing was asked.
            assert shown == []
            node.api.post("/secrets", {"name": "token", "value": VALUE})
            node.api.post("/services/far/actions/restart")
            node.wait_for_state("far", 2, "FAILED")
        assert set(shown) == {f"Bearer {VALUE}"}


@pytest.fixture(autouse=True)
def _keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


async def test_a_secret_reaches_the_servers_that_refer_to_it_and_nobody_else(workspace: Path) -> None:
    program = workspace / "declared.py"
    workspace.mkdir()
    program.write_text(digesting())
    (workspace / "henslowe.toml").write_text(
        f"[services.bought]\ncommand = [{sys.executable!r}, {str(program)!r}]\n"
        "env = { TOKEN = { secret = 'token' } }\n"
    )
    with Node(workspace) as node:
        refused = node.wait_for_state("bought", 1, "FAILED")
        assert "cannot find secret 'token'" in str(refused)
        node.api.post("/secrets", {"name": "token", "value": VALUE})
        node.edit("made", "[launch]\nenv = { TOKEN = 'secret:token' }\n", name="service.toml")
        node.edit("made", digesting())
        node.wait_for_active("made", 1)
        node.api.post("/services/bought/actions/restart")
        node.wait_for_active("bought", 2)
        for service in ("made", "bought"):
            async with client(node.mcp(service), "auto") as connected:
                answer = await connected.call_tool("digest", {})
            assert answer.content[0].text == hashlib.sha256(VALUE.encode()).hexdigest()[:16]
        shown = [node.api.get(path) for path in ("/status", "/config", "/secrets", "/services/made/versions")]
        shown += node.events(stream="lifecycle,activity,output", limit=1000)
        assert VALUE not in repr(shown)
        with pytest.raises(HensloweError):
            node.api.get("/secrets/token")
        node.stop()
        # Nothing that the node wrote has it, its log neither.
        assert VALUE not in node.report()
        content = b"".join(path.read_bytes() for path in workspace.rglob("*") if path.is_file())
        assert VALUE.encode() not in content
