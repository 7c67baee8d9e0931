"""Fresh scenarios, recorded on real OTP at this moment, play out the same on ours."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from typing import Any

from otp_oracle import peers, trees
from otp_oracle.record import is_possible, record

from henslowe.actors.kernel import GenActor, Scheduler
from henslowe.testing import run_virtually

from .outcome import Outcome

Kinds = Sequence[type[GenActor]]
AT_ONCE = 4
"""Scenarios in real time that run side by side."""


async def _is_same(kind: str, one: dict[str, Any], kinds: Kinds, *, virtual: bool) -> bool:
    play = peers.play if kind == "peers" else trees.play
    played = json.loads(json.dumps(await play(one["scenario"], kinds, virtual=virtual)))
    if kind == "peers":
        return peers.comparable(played) == peers.comparable(one["outcome"])
    return trees.comparable(played, kind) == trees.comparable(one["outcome"], kind)


async def _wrong(kind: str, recorded: list[dict[str, Any]], kinds: Kinds, *, virtual: bool) -> list[Any]:
    Scheduler.install()
    wrong, turn = [], asyncio.Semaphore(1 if virtual else AT_ONCE)

    async def one(scenario: dict[str, Any]) -> None:
        async with turn:
            if not await _is_same(kind, scenario, kinds, virtual=virtual):
                wrong.append(scenario["scenario"])

    await asyncio.gather(*(one(scenario) for scenario in recorded))
    return wrong


def prove(count: int, in_processes: int, seed: int) -> Outcome:
    """Records and plays `count` scenarios; half of them in shuffled order, some in threads and processes."""
    outcome = Outcome("scenarios")
    if not is_possible():
        outcome.figures["left_out"] = "Elixir is not installed"
        return outcome
    wrong: list[Any] = []
    shares = {"static": count * 2 // 5, "dynamic": count * 2 // 5, "peers": count // 5}
    threads = processes = 0
    for kind, share in shares.items():
        recorded = record(kind, share, seed)
        loop: Kinds = (peers.LoopPeer,) if kind == "peers" else (trees.LoopChild,)
        mixed: Kinds = (peers.LoopPeer, peers.ThreadPeer) if kind == "peers" else (*loop, trees.ThreadChild)
        in_threads = recorded[: share // 20]
        wrong += asyncio.run(_wrong(kind, in_threads, mixed, virtual=False))
        threads += len(in_threads)
        if kind != "peers":
            chosen = recorded[-in_processes // 2 :]
            wrong += asyncio.run(_wrong(kind, chosen, (*mixed, trees.ProcessChild), virtual=False))
            processes += len(chosen)
        middle = share // 2
        wrong += run_virtually(_wrong(kind, recorded[:middle], loop, virtual=True))
        wrong += run_virtually(_wrong(kind, recorded[middle:], loop, virtual=True), seed=seed)
    outcome.figures = {
        "scenarios": sum(shares.values()),
        "of_them_shuffled": sum(share - share // 2 for share in shares.values()),
        "also_with_threads": threads,
        "also_with_processes": processes,
        "mismatches": len(wrong),
        "first_seed": seed,
    }
    outcome.expect(not wrong, f"{len(wrong)} scenarios differ from OTP; the first: {wrong[:1]}")
    return outcome
