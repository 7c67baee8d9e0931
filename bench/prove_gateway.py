"""Proves what the gateway promises, at length: every part a script of its own, one summary, one exit code.

    python -m bench.prove_gateway [--quick] [--only recover,abuse,...] [--json] [--check]

recover       flips of versions, kills of servers and restarts of the node under forty sessions: `bench/recover.py`
scaling       more and fewer instances, spares and sleep under forty sessions: `bench/scaling.py`
abuse         misbehaving clients and servers beside clients that behave: `bench/abuse.py`
fuzz          mutated requests over `/mcp`: `bench/fuzz_mcp.py`
admin         schemathesis over the OpenAPI document: `bench/fuzz_admin.py`
conformance   the server scenarios of both revisions and the Tasks extension: `tools/conformance.py`
clients       the suite's scenarios for clients, through a node
auth          its authorization scenarios, with a node as the resource server: `tools/conformance_auth.py`
servers       servers and clients that people use, each with each, in both eras: `tests/e2e/test_real_servers.py`

The last four need `.ci/run npm`. The parts that measure how long others wait (recover, scaling, abuse) have the machine
to themselves; the others run first, two at a time. Each part has a time limit, beyond which it is ended with all that
it started, and broken. A part that was left out is said to be. With `--check` a broken promise is exit status 1.
A quarter of an hour on two quiet processors.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
END_S = 60.0
AT_ONCE = 2
"""Parts that need no quiet; each is a node, its servers and its clients."""
SAID_LINES = 6
"""Of a part that held; of a broken one ten times as many."""


@dataclass(slots=True, frozen=True)
class Part:
    """One script: how it is run, at length and quickly, and how long it may take."""

    name: str
    argv: tuple[str, ...]
    quick: tuple[str, ...] = ("--quick",)
    limit_s: float = 1_800.0
    quick_limit_s: float = 600.0
    quiet: bool = False
    """Whether its figures are only good with nothing beside it."""


@dataclass(slots=True, frozen=True)
class Outcome:
    """What became of it."""

    part: str
    held: bool
    took_s: float
    said: list[str]
    """The end of what it printed."""


_AUTH_QUICK = tuple(
    word for name in ("metadata-default", "scope-step-up", "pre-registration") for word in ("--only", f"auth/{name}")
)
PARTS = (
    Part("recover", ("bench/recover.py", "--check"), quiet=True),
    Part("scaling", ("bench/scaling.py", "--check"), quiet=True),
    Part("abuse", ("bench/abuse.py", "--check"), quick_limit_s=1_200.0, quiet=True),
    Part("fuzz", ("bench/fuzz_mcp.py", "--check"), limit_s=3_600.0),
    Part("admin", ("bench/fuzz_admin.py",)),
    Part("conformance", ("tools/conformance.py",), quick=("--only", "direct", "--only", "http", "--only", "pipes")),
    Part("clients", ("tools/conformance.py", "--client"), quick=()),
    Part("auth", ("tools/conformance_auth.py",), quick=_AUTH_QUICK),
    Part("servers", ("-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/e2e/test_real_servers.py"), quick=()),
)


class Runner:
    """Runs parts, two at a time or alone; when it is closed, what runs still ends."""

    def __init__(self, *, quick: bool) -> None:
        self._quick = quick
        self._lock = threading.Lock()
        self._running: set[subprocess.Popen[str]] = set()
        self._closed = False

    def all(self, parts: Sequence[Part]) -> Iterator[Outcome]:
        """What became of each, as they end."""
        for at_once, quiet in ((AT_ONCE, False), (1, True)):
            with ThreadPoolExecutor(at_once) as pool:
                futures = [pool.submit(self.run, part) for part in parts if part.quiet is quiet]
                try:
                    for future in as_completed(futures):
                        yield future.result()
                except BaseException:
                    pool.shutdown(wait=False, cancel_futures=True)
                    self.close()
                    raise

    def run(self, part: Part) -> Outcome:
        """Runs one part to its end or to its limit."""
        npm_bin = os.environ.get("HENSLOWE_NPM_BIN") or str(ROOT / "build" / "npm" / "node_modules" / ".bin")
        more = {"HENSLOWE_NPM_BIN": npm_bin, "MCP_INSPECTOR_SECRET_STORE": "memory", "HENSLOWE_REAL_SERVERS": "all"}
        limit_s = part.quick_limit_s if self._quick else part.limit_s
        began_s = time.monotonic()
        with self._lock:
            if self._closed:
                return Outcome(part.name, held=False, took_s=0.0, said=["it was not begun"])
            process = subprocess.Popen(
                [sys.executable, *part.argv, *(part.quick if self._quick else ())],
                cwd=ROOT,
                env={**os.environ, **more},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                text=True,
                errors="replace",
            )
            self._running.add(process)
        try:
            said, held = process.communicate(timeout=limit_s)[0], process.returncode == 0
        except subprocess.TimeoutExpired:
            said, held = ended(process) + f"\nexpected the end within {limit_s:g} s", False
        finally:
            with self._lock:
                self._running.discard(process)
        lines = [line for line in said.splitlines() if line.strip()]
        took_s = round(time.monotonic() - began_s, 1)
        return Outcome(part.name, held, took_s, lines[-SAID_LINES if held else -10 * SAID_LINES :])

    def close(self) -> None:
        """Ask what runs to end; each part's own thread waits for it."""
        with self._lock:
            self._closed = True
            for process in self._running:
                os.killpg(process.pid, signal.SIGINT)


def ended(process: subprocess.Popen[str]) -> str:
    """What a part said that was asked to end, with the nodes that it had started, and was killed if it did not."""
    os.killpg(process.pid, signal.SIGINT)
    try:
        return process.communicate(timeout=END_S)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        return process.communicate()[0]


def _verdict(outcome: Outcome | None) -> str:
    return "left out" if outcome is None else "held    " if outcome.held else "BROKEN  "


def main() -> int:
    """Prints each part and the summary; the exit code is 1 with `--check` when a promise is broken."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="few of everything")
    parser.add_argument("--only", default="", help="parts, separated by commas")
    parser.add_argument("--json", action="store_true", help="one JSON document")
    parser.add_argument("--check", action="store_true", help="exit 1 when a promise is broken")
    options = parser.parse_args()
    named = [name for name in options.only.split(",") if name]
    if unknown := set(named) - {part.name for part in PARTS}:
        parser.error(f"expected parts of {', '.join(part.name for part in PARTS)}, got: {', '.join(sorted(unknown))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # what a part started ends with it
    chosen = [part for part in PARTS if not named or part.name in named]
    began_s, outcomes = time.monotonic(), []
    for outcome in Runner(quick=options.quick).all(chosen):
        outcomes.append(outcome)
        if not options.json:
            print(f"== {outcome.part} ({outcome.took_s} s)", *outcome.said, sep="\n   ", flush=True)
    if options.json:
        print(json.dumps([asdict(outcome) for outcome in outcomes], indent=2))
    else:
        by_name = {outcome.part: outcome for outcome in outcomes}
        for part in PARTS:
            found = by_name.get(part.name)
            print(f"{part.name:12} {_verdict(found)}" + (f" {found.took_s:8.1f} s" if found else ""))
        print(f"{'together':12} {'':8} {time.monotonic() - began_s:8.1f} s{' (quick)' * options.quick}")
    return int(options.check and not all(outcome.held for outcome in outcomes))


if __name__ == "__main__":
    sys.exit(main())
