"""Runs the MCP project's own conformance suite and counts the required scenarios that pass: 37 and 30.

    make conformance                 installs the suite and runs everything, in about a minute
    python tools/conformance.py      with the suite in build/npm already
    python tools/conformance.py --only pipes --keep FOLDER
    python tools/conformance.py --client   the scenarios for clients without authorization: 7 and 4

What is judged, each in both revisions:

| target | what the suite talks to |
|---|---|
| direct | the fixture itself, over HTTP: shows that the fixture is not at fault |
| http | a node in front of the fixture over HTTP |
| pipes | a node in front of the fixture over standard input and output |
| bare | a node in front of a stateless server made without a library, over pipes |
| old-http, old-pipes | a node in front of the fixture that knows the handshake era only and asks its clients itself |

One scenario wants a question by a name that its server chose: the only one that a question of the handshake era has is
the id of its request, which the fixture chooses accordingly. On a slow machine old-pipes passes 36 of 37: another
scenario has no time for the start of a client's own process. Nodes in front of servers that have the Tasks extension
are judged in its scenarios, too.

With `--client` the suite plays the server and watches what arrives there from a client behind a node (see
tests/conformance/client.py). The scenarios of authorization, where a node is the resource server, are the business of
`tools/conformance_auth.py`.
Exits with 1 when any other required scenario fails. Needs `.ci/run npm`. Everything listens on loopback only.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parent.parent
if str(ROOT) not in sys.path:  # when run as a script
    sys.path.insert(0, str(ROOT))

from tests.e2e.harness import Node  # noqa: E402 (needs the path)

MODERN: Final = "2026-07-28"
LEGACY: Final = "2025-11-25"
REQUIRED: Final = {MODERN: 37, LEGACY: 30}
"""Server scenarios that a revision requires, as `conformance list --requirements` says; frozen with the revision."""
TASKS: Final = (
    "tasks-capability-negotiation",
    "tasks-dispatch-and-envelope",
    "tasks-lifecycle",
    "tasks-mrtr-composition",
    "tasks-mrtr-input",
    "tasks-request-headers",
    "tasks-request-state-removal",
    "tasks-required-task-error",
    "tasks-status-notifications",
    "tasks-wire-fields",
)
"""Scenarios of the extension, which no revision requires; they are run one by one."""
SUITE_S: Final = 120.0
"""Longest run of one revision; it takes 2 to 5 seconds."""
START_S: Final = 30.0

CLIENT_S: Final = 60.0
"""Longest run of one scenario for clients, the start of a node included."""
CLIENT_REQUIRED: Final = {MODERN: 7, LEGACY: 4}
"""Scenarios for clients that a revision requires, but for those of authorization, which `conformance_auth` runs."""

CLIENT: Final = ROOT / "tests" / "conformance" / "client.py"
FIXTURE: Final = ROOT / "tests" / "conformance" / "sdk_server.py"
BARE: Final = ROOT / "tests" / "conformance" / "server.py"


@dataclass(slots=True, frozen=True)
class Target:
    """Something to judge: a service of the node, or the fixture itself when it has no table in the node's file."""

    name: str
    table: str
    excused: frozenset[str] = frozenset()
    """Required scenarios that may fail, for reasons that are not the node's."""
    tasks: bool = False
    """Whether it is judged in the Tasks extension."""

    def judgements(self) -> dict[str, int]:
        """What it is judged in, and how many scenarios that has."""
        return {**REQUIRED, **({"tasks": len(TASKS)} if self.tasks else {})}


def _table(*arguments: str, script: Path = FIXTURE, url: bool = False) -> str:
    command = [sys.executable, str(script), *arguments]
    return f"command = {command!r}\n" + ('url = "http://127.0.0.1:{port}/mcp"\n' if url else "")


HURRIED: Final = frozenset({"server-stateless"})
"""Has 0.6 s for a first answer, in which a client's own process of a Python server does not always start."""
TARGETS: Final = (
    Target("direct", ""),
    Target("http", _table("{port}", url=True), tasks=True),
    Target("pipes", _table("stdio"), tasks=True),
    Target("bare", _table(script=BARE), tasks=True),
    Target("old-http", _table("--legacy", "{port}", url=True)),
    Target("old-pipes", _table("--legacy", "stdio"), HURRIED),
)


@dataclass(slots=True, frozen=True)
class Score:
    """The required scenarios of one run."""

    passed: frozenset[str]
    failed: frozenset[str]

    @classmethod
    def read(cls, said: str) -> Score:
        """The score in what the suite prints: a summary of all scenarios, then the ones that do not count."""
        _, _, summary = said.partition("=== SUMMARY ===")
        counted, _, uncounted = summary.partition("Not scored for")
        ignored = set(re.findall(r"^\s+[✓✗] (\S+)", uncounted, re.MULTILINE))
        found = [(mark, name) for mark, name in re.findall(r"^([✓✗]) (\S+):", counted, re.MULTILINE)]
        return cls(
            frozenset(name for mark, name in found if mark == "✓" and name not in ignored),
            frozenset(name for mark, name in found if mark == "✗" and name not in ignored),
        )


def judge(programs: Path, url: str, judgement: str, results: Path) -> Score:
    """The score of whatever answers at `url`; what the suite printed is left in `results`."""
    if judgement != "tasks":
        return Score.read(_suite(programs, url, results, "--requirements", judgement)[0])
    return _by_status({name: _suite(programs, url, results / name, "--scenario", name)[1] for name in TASKS})


def judge_client(programs: Path, revision: str, results: Path) -> Score:
    """The score of a client whose requests pass through a node on their way to the suite's own server.

    One scenario after the other: each has a node of its own, and the suite would run them all at once.
    """
    listed = _run(programs, results, SUITE_S, "list", "--requirements", revision)[0]
    named = re.findall(r"^  - (\S+)$", listed.partition("Client scenarios")[2], re.MULTILINE)
    required = [name for name in named if not name.startswith("auth/")]
    which = ("--command", f"{sys.executable} {CLIENT}", "--spec-version", revision)
    which += ("--timeout", str(round(1_000 * CLIENT_S)))
    ended = {}
    for name in required:
        folder = results / name
        arguments = ("client", *which, "--scenario", name, "-o", str(folder))
        ended[name] = _run(programs, folder, 2 * CLIENT_S, *arguments)[1]
    return _by_status(ended)


def _by_status(ended: dict[str, int]) -> Score:
    """The score from the exit status of each scenario."""
    return Score(
        frozenset(name for name, status in ended.items() if status == 0),
        frozenset(name for name, status in ended.items() if status != 0),
    )


def _suite(programs: Path, url: str, results: Path, *which: str) -> tuple[str, int]:
    """What the suite printed about a server, and its exit status."""
    return _run(programs, results, SUITE_S, "server", "--url", url, *which, "-o", str(results))


def _run(programs: Path, results: Path, timeout_s: float, *arguments: str) -> tuple[str, int]:
    """What the suite printed, and its exit status; its records are left in `results`."""
    results.mkdir(parents=True, exist_ok=True)
    run = subprocess.run(
        [str(programs / "node"), str(programs / "conformance"), *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        stdin=subprocess.DEVNULL,
        timeout=timeout_s,
        check=False,
    )
    said = run.stdout.decode(errors="replace")
    (results / "output.txt").write_text(said)
    return said, run.returncode


@contextmanager
def fixture() -> Iterator[str]:
    """The fixture by itself, over HTTP; the value is its URL."""
    with subprocess.Popen(
        [sys.executable, str(FIXTURE), "0"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as process:
        try:
            assert process.stdout is not None
            yield process.stdout.readline().strip()
        finally:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()


def run(programs: Path, targets: list[Target], results: Path) -> Iterator[tuple[Target, str, Score]]:
    """Judges each target in all that it is judged in."""
    behind = [target for target in targets if target.table]
    for target in targets:
        if not target.table:
            with fixture() as url:
                for judgement in target.judgements():
                    yield target, judgement, judge(programs, url, judgement, results / target.name / judgement)
    if not behind:
        return
    with tempfile.TemporaryDirectory(prefix="henslowe-conformance-") as folder:
        workspace = Path(folder) / "workspace"
        workspace.mkdir()
        tables = "\n".join(f"[services.{target.name}]\n{target.table}" for target in behind)
        (workspace / "henslowe.toml").write_text(tables)
        with Node(workspace) as node:
            for target in behind:
                node.wait_for_active(target.name, 1, START_S)
                url = node.mcp(target.name)
                for judgement in target.judgements():
                    yield target, judgement, judge(programs, url, judgement, results / target.name / judgement)


def main() -> int:
    """The exit status."""
    parser = argparse.ArgumentParser(description="Runs the MCP conformance suite; see the top of this file.")
    parser.add_argument("--only", action="append", choices=[target.name for target in TARGETS], metavar="TARGET")
    parser.add_argument("--keep", type=Path, help="a folder for what the suite prints and records")
    parser.add_argument("--client", action="store_true", help="the scenarios for clients, and no others")
    arguments = parser.parse_args()
    programs = Path(os.environ.get("HENSLOWE_NPM_BIN") or ROOT / "build/npm/node_modules/.bin").absolute()
    if not (programs / "conformance").exists():
        print(f"cannot find the suite in {programs}; run .ci/run npm", file=sys.stderr)
        return 2
    targets = [target for target in TARGETS if not arguments.only or target.name in arguments.only]
    short = False
    with tempfile.TemporaryDirectory(prefix="henslowe-conformance-") as folder:
        print(f"{'target':<12}{'judged in':<13}passed/required", flush=True)
        results = arguments.keep or Path(folder)
        if arguments.client:
            for revision, required in CLIENT_REQUIRED.items():
                score = judge_client(programs, revision, results / "client" / revision)
                short |= show("client", revision, score, required, frozenset())
            return 1 if short else 0
        for target, judgement, score in run(programs, targets, results):
            short |= show(target.name, judgement, score, target.judgements()[judgement], target.excused)
    return 1 if short else 0


def show(name: str, judgement: str, score: Score, required: int, excused: frozenset[str]) -> bool:
    """Prints one line; whether it fell short."""
    complete = len(score.passed) + len(score.failed) == required
    failed = ", ".join(sorted(score.failed)) or ("" if complete else "the suite itself")
    note = f"   failed: {failed}" if failed else ""
    print(f"{name:<12}{judgement:<13}{len(score.passed)}/{required}{note}", flush=True)
    return not complete or not score.failed <= excused


if __name__ == "__main__":
    sys.exit(main())
