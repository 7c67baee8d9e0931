"""Runs stages that do harm, at each level of isolation that works here, and looks at what became of it.

| stage | what has to happen |
|---|---|
| a dependency whose file is not the one that was locked (pip's and npm's lock) | the install fails and says so |
| a fork bomb | killed with all its processes, the run says how many it may have |
| one that writes until the disk is full | killed, what it wrote is gone |
| one that writes outside of its folder | refused where the level keeps it in; with none the version says so |

After each of them the next change has to become a version, with no process and no file of the bad run left over.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import functools
import hashlib
import http.server
import io
import json
import os
import shutil
import sys
import tarfile
import tempfile
import threading
import time
import zipfile
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final

from bench.delivery_proof.cancellations import alive, node_at, until, works
from henslowe.actors.pipeline.isolation import Level
from tests.actors.pipeline.delivering import Node, server, stage

PROCESSES_MAX: Final = 40
RUN_MIB_MAX: Final = 64
CONTAINED_S_MAX: Final = 20.0
"""From the change to the refused version, beside what the machine's other users do."""
LEFT_S: Final = 2.0
"""Longest time that something of a run may be seen after its end."""

BOMB: Final = """
import os, sys, time
while True:
    try:
        os.fork()
    except OSError:
        pass
    time.sleep(0.2)
"""
FILL: Final = """
import os, time
with open("big", "wb") as file:
    while True:
        file.write(bytes(4 << 20))
        file.flush()
        time.sleep(0.02)
"""


def _reach(target: Path) -> str:
    return f"import sys\ntry:\n    open({str(target)!r}, 'w')\nexcept OSError as error:\n    sys.exit(str(error))\n"


# -- dependencies that are not what was locked ----------------


def _wheel(content: str) -> bytes:
    """A package of one module."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        archive.writestr("tiny.py", content)
        archive.writestr("tiny-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        tag = "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        archive.writestr("tiny-1.0.dist-info/WHEEL", tag)
        archive.writestr("tiny-1.0.dist-info/RECORD", "tiny.py,,\n")
    return made.getvalue()


def _tarball(content: str) -> bytes:
    """The same for npm."""
    made = io.BytesIO()
    with tarfile.open(fileobj=made, mode="w:gz") as archive:
        for name, text in (("package.json", '{"name": "tiny", "version": "1.0.0"}'), ("index.js", content)):
            entry = tarfile.TarInfo(f"package/{name}")
            entry.size = len(text)
            archive.addfile(entry, io.BytesIO(text.encode()))
    return made.getvalue()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextlib.contextmanager
def _serving(folder: Path) -> Iterator[str]:
    """A registry of files; its address."""
    handler = functools.partial(_Quiet, directory=str(folder))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as serving:
        thread = threading.Thread(target=serving.serve_forever, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{serving.server_address[1]}"
        finally:
            serving.shutdown()
            thread.join()


def _python_service(url: str, wheel: bytes) -> dict[str, str]:
    digest = hashlib.sha256(wheel).hexdigest()
    lock = f"--no-index\n--find-links {url}/index.html\ntiny==1.0 --hash=sha256:{digest}\n"
    return {"server.py": server(before="import tiny"), "requirements.txt": lock}


JS_SERVER: Final = """
require("tiny");
const lines = require("node:readline").createInterface({ input: process.stdin });
lines.on("line", (line) => {
  const request = JSON.parse(line);
  if (request.id === undefined) return;
  const serverInfo = { name: "js", version: "1" };
  const results = {
    initialize: { protocolVersion: "2025-11-25", capabilities: { tools: {} }, serverInfo },
    "tools/list": { tools: [{ name: "add", inputSchema: { type: "object" } }] },
  };
  const result = results[request.method];
  const answer = result ? { result } : { error: { code: -32601, message: "Method not found" } };
  console.log(JSON.stringify({ jsonrpc: "2.0", id: request.id, ...answer }));
});
"""


def _node_service(url: str, tarball: bytes) -> dict[str, str]:
    integrity = "sha512-" + base64.b64encode(hashlib.sha512(tarball).digest()).decode()
    package = {"name": "js", "version": "1.0.0", "main": "server.js", "dependencies": {"tiny": "1.0.0"}}
    locked = {"version": "1.0.0", "resolved": f"{url}/tiny-1.0.0.tgz", "integrity": integrity}
    root = {"name": "js", "version": "1.0.0", "dependencies": {"tiny": "1.0.0"}}
    lock = {"name": "js", "version": "1.0.0", "lockfileVersion": 3, "packages": {"": root, "node_modules/tiny": locked}}
    files = {"package.json": package, "package-lock.json": lock}
    return {"server.js": JS_SERVER, **{name: json.dumps(content) for name, content in files.items()}}


# -- the cases ----------------


class _Bench:
    """One level's node, and what went wrong on it."""

    def __init__(self, node: Node, level: str, problems: list[str]) -> None:
        self.node = node
        self.level = level
        self.took_s: dict[str, float] = {}
        self._problems = problems

    def wrong(self, case: str, what: str) -> None:
        self._problems.append(f"{self.level}: {case}: {what}")

    async def case(
        self, case: str, bad: dict[str, str], good: dict[str, str], words: str, token: str = "", *, service: str = ""
    ) -> None:
        """A change that does harm, and one that does not: the first is refused in these words, the second is built."""
        service = service or case.replace(" ", "-")
        began_s = time.monotonic()
        self.node.change(bad, service)
        try:
            outcome: Any = await self.node.outcome()
        except TimeoutError:
            self.wrong(case, "no end of the run")
            return
        self.took_s[case] = round(time.monotonic() - began_s, 2)
        if hasattr(outcome, "build"):
            self.wrong(case, "it became a version")
        elif words not in outcome.reason:
            self.wrong(case, f"expected {words!r} in the reason, got: {outcome.reason[-300:]!r}")
        if self.took_s[case] > CONTAINED_S_MAX:
            self.wrong(case, f"contained after {self.took_s[case]} s")
        if token and not await until(lambda: not alive(token), LEFT_S):
            self.wrong(case, f"{len(alive(token))} processes are left")
        await self.clean(case, good, service)

    async def clean(self, case: str, good: dict[str, str], service: str) -> None:
        """The next change is built, and nothing of any run is left."""
        self.node.change(good, service)
        outcome = await self.node.outcome()
        if not hasattr(outcome, "build"):
            self.wrong(case, f"the next run failed: {outcome.reason[-300:]!r}")
        elif outcome.metadata["isolation"] != self.level:
            self.wrong(case, f"the version says {outcome.metadata['isolation']}")
        runs = self.node.store.data_dir / "runs"
        if not await until(lambda: not any(runs.iterdir()), LEFT_S):
            self.wrong(case, f"left over: {[path.name for path in runs.iterdir()]}")


async def _tampered(bench: _Bench, folder: Path) -> None:
    with _serving(folder) as url:
        wheel, file = _wheel("x = 1\n"), folder / "tiny-1.0-py3-none-any.whl"
        (folder / "index.html").write_text(f'<a href="{file.name}">{file.name}</a>\n')
        file.write_bytes(_wheel("x = 'not what was locked'\n"))
        locked = _python_service(url, wheel)
        truth = _python_service(url, file.read_bytes())
        await bench.case("tampered wheel", locked, truth, "Hash mismatch")
        if shutil.which("npm") is None:
            return
        (folder / "tiny-1.0.0.tgz").write_bytes(_tarball("module.exports = 'not what was locked';\n"))
        locked = _node_service(url, _tarball("module.exports = 1;\n"))
        truth = _node_service(url, (folder / "tiny-1.0.0.tgz").read_bytes())
        await bench.case("tampered package", locked, truth, "EINTEGRITY")


async def _harmful(bench: _Bench, outside: Path) -> None:
    good = {"server.py": server(), "service.toml": ""}

    def bad(script: str, *words: str) -> dict[str, str]:
        run = stage("harm", " ".join((sys.executable, "harm.py", *words)))
        return {"server.py": server(), "harm.py": script, "service.toml": run}

    token = f"bomb{os.getpid():07}{bench.level}"
    limit = f"expected at most {PROCESSES_MAX} processes"
    await bench.case("fork bomb", bad(BOMB, token), good, limit, token)
    limit = f"expected the run's folder to stay within {RUN_MIB_MAX} MiB"
    await bench.case("full disk", bad(FILL), good, limit)
    target = outside / "reached"
    if bench.level == Level.NONE:
        # It can: what is promised is that the version says so.
        await bench.clean("writes outside", bad(_reach(target)), "writes-outside")
        return
    await bench.case("writes outside", bad(_reach(target)), good, "reached")
    if list(outside.iterdir()):
        bench.wrong("writes outside", f"it wrote {[path.name for path in outside.iterdir()]}")


async def _level(level: str, problems: list[str]) -> dict[str, float]:
    # Not in /tmp: a cage may have one of its own.
    with (
        tempfile.TemporaryDirectory(prefix="prove-containment-", dir="/var/tmp") as folder,
        tempfile.TemporaryDirectory(prefix="prove-outside-", dir="/var/tmp") as outside,
    ):
        limits = {"isolation": level, "processes_max": PROCESSES_MAX, "run_mib_max": RUN_MIB_MAX}
        async with _node(Path(folder, "node"), limits) as node:
            bench = _Bench(node, level, problems)
            registry = Path(folder, "registry")
            registry.mkdir()
            await _tampered(bench, registry)
            await _harmful(bench, Path(outside))
            return bench.took_s


@contextlib.asynccontextmanager
async def _node(folder: Path, limits: dict[str, Any]) -> AsyncIterator[Node]:
    folder.mkdir()
    async with node_at(folder, **limits) as node:
        yield node


def prove(levels: Callable[[], list[str]] | None = None) -> dict[str, Any]:
    """Each level that works here; how long the longest containment of each kind took."""
    problems: list[str] = []
    names = levels() if levels is not None else [level.value for level in Level if works(level.value)]
    longest: dict[str, float] = {}
    for level in names:
        for case, took_s in asyncio.run(_level(level, problems)).items():
            longest[case] = max(took_s, longest.get(case, 0.0))
    figures = {f"{case.replace(' ', '_')}_s": took_s for case, took_s in longest.items()}
    return {"levels": ",".join(names), **figures, "problems": problems}
