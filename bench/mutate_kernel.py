"""Breaks the supervisors and the kernel's exit logic on purpose, one small change at a time: do the tests notice?

    python bench/mutate_kernel.py [--only policy.py] [--sample N] [--jobs 1] [--json FILE] [--resume] [--check]

Each mutant changes one operator, condition, constant or statement of a target function, and runs the tests of the
kernel and of the supervisors until one fails, the most likely ones first. Mutants that no test notices are listed.
`bench/mutants_explained.json` says why each known one cannot matter, or is not worth a test; `--check` fails when fewer
than nine of ten are noticed, when one survives without an explanation, or when an explanation explains nothing any
more. With `--json` each result is written as it comes, and `--resume` goes on from there: mutants that were noticed
or are explained are not tried again. How they are made is in `mutation/changes.py`, how they are tried in
`mutation/trial.py`: a fork each, a quarter of an hour for all.
"""

from __future__ import annotations

import argparse
import json
import random
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.mutation.changes import ROOT, Mutant, mutants
from bench.mutation.trial import Trials, run

KILLED_AT_LEAST = 0.9
TARGETS: dict[str, set[str] | None] = {
    "henslowe/supervisors/policy.py": None,
    "henslowe/supervisors/_base.py": None,
    "henslowe/supervisors/static.py": None,
    "henslowe/supervisors/dynamic.py": None,
    "henslowe/supervisors/partition.py": None,
    "henslowe/supervisors/reports.py": None,
    "henslowe/supervisors/tree.py": None,
    "henslowe/actors/kernel/_exits.py": None,
    "henslowe/actors/kernel/_dispatch.py": {"begin", "_special"},
    "henslowe/actors/kernel/_lifecycle.py": None,
    "henslowe/actors/kernel/_ref.py": {"stop"},
    "henslowe/actors/kernel/_actor.py": {"begin_link", "_when_started", "_outcome"},
    "henslowe/actors/kernel/_loop_mailbox.py": {"_flush", "_take_all"},
    "henslowe/actors/kernel/_loop_endings.py": None,
    "henslowe/actors/kernel/_loop_ref.py": {"_resume", "_booted", "_async_booted"},
    "henslowe/actors/kernel/_thread_actor.py": {"exit", "_failed", "_terminate", "_settle", "_boot"},
}  # fmt: skip
"""Files, and the functions in them; None for all."""
TESTS = [
    "tests/supervisors/test_supervisors_policy.py",
    "tests/supervisors/test_supervisors_static.py",
    "tests/supervisors/test_supervisors_dynamic.py",
    "tests/supervisors/test_supervisors_reports.py",
    "tests/supervisors/test_supervisors_partition.py",
    "tests/supervisors/test_supervisors_tree.py",
    "tests/supervisors/test_supervisors_foreign.py",
    "tests/actors/kernel/test_kernel_endings.py",
    "tests/actors/kernel/test_kernel_signals.py",
    "tests/actors/kernel/test_kernel_gen_server.py",
    "tests/actors/kernel/test_kernel_threads.py",
    "tests/actors/kernel/test_kernel_names.py",
    "tests/actors/kernel/test_kernel_groups.py",
    "tests/actors/kernel/test_kernel_timers.py",
    "tests/actors/kernel/test_kernel_bounded_mailboxes.py",
    "tests/actors/kernel/test_kernel_observe.py",
    "tests/actors/kernel/test_kernel_pykka.py",
    "tests/supervisors/test_supervisors_oracle.py",
    "tests/actors/kernel/test_kernel_machine.py",
]
FIRST = {
    "policy.py": "policy",
    "static.py": "static",
    "_base.py": "static",
    "dynamic.py": "dynamic",
    "partition.py": "partition",
    "reports.py": "reports",
    "tree.py": "tree",
    "_thread_actor.py": "threads",
    "_actor.py": "gen_server",
    "_dispatch.py": "gen_server",
    "_loop_ref.py": "gen_server",
    "_lifecycle.py": "endings",
    "_loop_endings.py": "endings",
}
"""The test file that a mutant of a file most likely fails in."""


def likely(mutant: Mutant) -> str:
    """The test file that should notice it."""
    return f"_{FIRST.get(mutant.file.rpartition('/')[2], 'endings')}.py"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="files whose name contains this")
    parser.add_argument("--sample", type=int, help="only so many of them, chosen at random")
    parser.add_argument("--seed", type=int, default=random.randrange(10**6), help="of the sample")
    parser.add_argument("--jobs", type=int, default=1, help="mutants at a time")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the results there as they come")
    parser.add_argument("--resume", action="store_true", help="do not try again what FILE knows, but for riddles")
    parser.add_argument("--check", action="store_true", help="fail when too many survive, or one without explanation")
    options = parser.parse_args()
    everything = [mutant for file, names in TARGETS.items() for mutant in mutants(file, names)]
    chosen = [mutant for mutant in everything if options.only in mutant.file]
    if options.sample:
        print(f"seed {options.seed}")
        chosen = random.Random(options.seed).sample(chosen, min(options.sample, len(chosen)))
    earlier = json.loads(options.json.read_text(encoding="utf-8")) if options.resume and options.json.exists() else {}
    explained = json.loads((ROOT / "bench" / "mutants_explained.json").read_text(encoding="utf-8"))
    settled = {key for key, outcome in earlier.items() if outcome != "survived" or key in explained}
    results = {mutant.key: earlier[mutant.key] for mutant in chosen if mutant.key in settled}

    def note(mutant: Mutant, outcome: str) -> None:
        results[mutant.key] = outcome
        if options.json:
            options.json.write_text(json.dumps(results, indent=1), encoding="utf-8")
        if outcome == "survived":
            why = explained.get(mutant.key, "NOT EXPLAINED")
            print(f"SURVIVED {mutant.key} (line {mutant.line}): {why}", flush=True)

    run(Trials([mutant for mutant in chosen if mutant.key not in results], likely, options.jobs, note), TESTS)
    survivors = [key for key, outcome in results.items() if outcome == "survived"]
    share = 1 - len(survivors) / max(1, len(results))
    unexplained = [key for key in survivors if key not in explained]
    stale = sorted(set(explained) - {mutant.key for mutant in everything})
    hung = sum(outcome == "hung" for outcome in results.values())
    print(f"{len(results)} mutants, {share:.1%} noticed, {hung} of them by a test that hung")
    print(f"{len(survivors)} survived, {len(unexplained)} not explained")
    for key in stale:
        print(f"STALE {key}: no such mutant")
    return 1 if options.check and (share < KILLED_AT_LEAST or unexplained or stale) else 0


if __name__ == "__main__":
    sys.exit(main())
