"""Proves what storage promises, by breaking it in every way that a disk and a kernel have.

    python bench/prove_storage.py [--quick] [--only SECTION] [--seed N] [--json] [--check]

A line per section, told when it is done: what was done how often, and whether the promise held. The sections are
modules of `bench.storage_proof`, whose docstrings say what each does; they run in as many processes as there are
cores. A section that cannot run here (no C compiler, no right to mount) says so and counts as held; `skipped` lists it.

With `--check` a broken promise is exit status 1.
"""

from __future__ import annotations

import argparse
import importlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path
from typing import Any

if __name__ == "__main__":
    # As a script, too: the sections are a package beside this file.
    sys.path.insert(0, str(Path(__file__).parents[1]))

MEMORY = Path("/dev/shm")


@dataclass(frozen=True, slots=True)
class Section:
    """One way of breaking the store.

    Attributes:
        name: Of the module in `bench.storage_proof`.
        promise: What must hold.
        sizes: The first argument of each part, in full; parts run side by side.
        quick: The same for a first look; () where the module has no size.
        on_disk: Whether it needs a real disk under it rather than memory.
    """

    name: str
    promise: str
    sizes: tuple[int, ...] = ()
    quick: tuple[int, ...] = ()
    on_disk: bool = False


SECTIONS = (
    Section("power", "whatever a power cut leaves opens, and has all that was acknowledged", (2_000,) * 3, (150,)),
    Section("io_errors", "any write or flush may fail: nothing acknowledged is lost, and it goes on", (1,), (20,)),
    Section("kills", "a killed node loses nothing acknowledged and leaves no gap", (100, 100), (15,), on_disk=True),
    Section("migrations", "a migration that is killed goes on where it was", (60,), (6,)),
    Section("rotations", "a renewal of keys that is killed loses no secret, and ends", (40,), (5,)),
    Section("flips", "damage is an error or harmless, never another value, never silence", (600,), (45,)),
    Section("first_boot", "whatever a power cut leaves of a store's creation opens", (1_000,), (100,)),
    Section("disk_full", "a full disk refuses writes, not reads, and is forgiven when space returns", on_disk=True),
    Section("backups", "a backup made while writing verifies, and restores byte for byte", (12,), (2,)),
)


def run_part(name: str, size: int | None, seed: int, *, on_disk: bool) -> dict[str, Any]:
    """One part of a section, in a folder of its own."""
    module = importlib.import_module(f"bench.storage_proof.{name}")
    memory = None if on_disk or not MEMORY.is_dir() else MEMORY
    started = time.perf_counter()
    with tempfile.TemporaryDirectory(prefix=f"prove-{name}-", dir=memory) as folder:
        place = Path(folder, "proof")
        try:
            found: dict[str, Any] = module.run(seed, place) if size is None else module.run(size, seed, place)
        except (Exception, SystemExit) as error:
            # The other sections go on; what could not be proven is not held.
            found = {"problems": [f"the proof itself failed: {type(error).__name__}: {error}"]}
    return {**found, "seconds": round(time.perf_counter() - started, 1)}


def prove(sections: tuple[Section, ...], seed: int, *, quick: bool) -> Iterator[tuple[Section, dict[str, Any]]]:
    """The findings of each section, when its last part is done."""
    # Spawned: a fork would share the sections' own children and descriptors.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(2, os.cpu_count() or 1), mp_context=context) as pool:
        parts: dict[Any, Section] = {}
        for section in sections:
            for number, size in enumerate((section.quick if quick else section.sizes) or (None,)):
                part = pool.submit(run_part, section.name, size, seed + number, on_disk=section.on_disk)
                parts[part] = section
        found: dict[str, list[dict[str, Any]]] = {}
        for part in as_completed(parts):
            section = parts[part]
            found.setdefault(section.name, []).append(part.result())
            if len(found[section.name]) == list(parts.values()).count(section):
                yield section, merged(found[section.name])


def merged(parts: list[dict[str, Any]]) -> dict[str, Any]:
    """The parts of a section as one: numbers added, lists joined."""
    total: dict[str, Any] = {}
    for part in parts:
        for name, value in part.items():
            total[name] = total[name] + value if name in total and isinstance(value, int | float | list) else value
    return total


def line(section: Section, found: dict[str, Any]) -> str:
    """What a person reads of a section."""
    verdict = "skipped" if "skipped" in found else "BROKEN" if found["problems"] else "held"
    figures = [f"{name}={value}" for name, value in found.items() if isinstance(value, int | float)]
    lines = [f"{verdict:7} {section.name:10} {section.promise}", f"{'':19}{' '.join(figures)}"]
    lines += [f"{'':19}{found['skipped']}"] if "skipped" in found else []
    return "\n".join(lines + [f"{'':19}! {problem}" for problem in found["problems"]])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n", 1)[0])
    parser.add_argument("--quick", action="store_true", help="a little of everything")
    parser.add_argument("--only", choices=[section.name for section in SECTIONS], action="append", default=[])
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", action="store_true", help="exit with 1 when a promise is broken")
    options = parser.parse_args()
    wanted = tuple(section for section in SECTIONS if not options.only or section.name in options.only)
    told: dict[str, dict[str, Any]] = {}
    started = time.perf_counter()
    for section, found in prove(wanted, options.seed, quick=options.quick):
        told[section.name] = found
        if not options.json:
            print(line(section, found), flush=True)
    held = not any(found["problems"] for found in told.values())
    seconds = round(time.perf_counter() - started, 1)
    if options.json:
        print(json.dumps({"held": held, "seed": options.seed, "seconds": seconds, "sections": told}))
    else:
        print("held" if held else "BROKEN", f"(seed {options.seed}, {seconds:g} s)")
    return 1 if options.check and not held else 0


if __name__ == "__main__":
    sys.exit(main())
