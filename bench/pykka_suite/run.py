"""Runs pykka's own published tests against our actors, and compares with what is expected to differ.

    python bench/pykka_suite/run.py CHECKOUT [--json] [--check]

CHECKOUT is a checkout of pykka (or its unpacked source distribution), which is not part of this repository. Needs
pytest-mock besides our development requirements. Differences that are meant are in `DIFFERENT`, with the reason; with
`--check` any other failure is exit status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path
from tempfile import TemporaryDirectory

HERE = Path(__file__).parent
KINDS = ("loop", "thread")
WORDING = "we log other words, to the logger `henslowe.kernel`"
CONTAINED = "a BaseException ends one actor here; pykka stops all of them"
THREADS = "our threads are daemons always, and loop actors have none"
DIFFERENT = {
    "test_all_actors_are_stopped_on_base_exception": CONTAINED,
    "test_base_exception_is_logged": CONTAINED,
    "test_exception_in_on_failure_is_logged": WORDING,
    "test_exception_in_on_start_is_logged": WORDING,
    "test_exception_in_on_stop_is_logged": WORDING,
    "test_exception_is_logged_when_not_reply_requested": WORDING,
    "test_exception_is_logged_when_returned_to_caller": WORDING,
    "test_unexpected_messages_are_logged": WORDING,
    "test_actor_thread_is_daemonic_if_use_daemon_thread_flag_is_set": THREADS,
    "test_actor_thread_is_named_after_pykka_actor_class": THREADS,
    "test_actor_thread_is_not_daemonic_by_default": THREADS,
}
"""Test -> why it may differ."""


def run(kind: str, checkout: Path) -> dict[str, str]:
    """Outcome by test: passed, failed or skipped."""
    with TemporaryDirectory() as folder:
        report = Path(folder) / "report.xml"
        command = [sys.executable, "-m", "pytest", "-q", "-p", "adapter", "-p", "no:asyncio", "-o", "addopts="]
        command += ["-o", "junit_family=xunit1", f"--junitxml={report}", "--timeout=30", "tests"]
        environment = os.environ | {
            "HENSLOWE_KIND": kind,
            "PYTHONPATH": os.pathsep.join([str(HERE), str(HERE.parents[1]), *sys.path]),
        }
        ran = subprocess.run(
            command, check=False, cwd=checkout, env=environment, capture_output=True, text=True, timeout=600
        )
        if not report.exists():
            raise SystemExit(f"cannot run pykka's tests: {ran.stdout[-2000:]}{ran.stderr[-2000:]}")
        outcomes = {}
        for case in ET.parse(report).iter("testcase"):
            tags = {child.tag for child in case}
            outcome = "failed" if tags & {"failure", "error"} else "skipped" if "skipped" in tags else "passed"
            outcomes[f"{case.get('classname')}::{case.get('name')}"] = outcome
        return outcomes


def short(name: str) -> str:
    """The test function's name."""
    return name.split("::")[1].split("[", maxsplit=1)[0]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("checkout", type=Path, help="a checkout of pykka")
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--check", action="store_true", help="fail on differences that are not meant")
    options = parser.parse_args()
    told: dict[str, dict[str, object]] = {}
    surprises = 0
    for kind in KINDS:
        outcomes = run(kind, options.checkout.resolve())
        failed = sorted(name for name, outcome in outcomes.items() if outcome == "failed")
        meant = {name: DIFFERENT[short(name)] for name in failed if short(name) in DIFFERENT}
        unexpected = [name for name in failed if name not in meant]
        surprises += len(unexpected)
        told[kind] = {
            "passed": sum(outcome == "passed" for outcome in outcomes.values()),
            "of": sum(outcome != "skipped" for outcome in outcomes.values()),
            "different_on_purpose": meant,
            "unexpected": unexpected,
        }
    if options.json:
        print(json.dumps(told))
    else:
        for kind, figures in told.items():
            print(f"{kind:8} {figures['passed']} of {figures['of']} passed")
            for name, why in figures["different_on_purpose"].items():  # type: ignore[attr-defined]
                print(f"   {name}: {why}")
            for name in figures["unexpected"]:  # type: ignore[attr-defined]
                print(f"   UNEXPECTED {name}")
    return 1 if options.check and surprises else 0


if __name__ == "__main__":
    sys.exit(main())
