"""Ours does what real OTP did, event by event: on loops, threads and in processes, in any order of actors."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from bench.otp_oracle import peers, trees
from henslowe.actors.kernel import Scheduler
from henslowe.testing import run_virtually

RECORDED = Path(__file__).parent / "oracle"
KINDS = ["static", "dynamic", "peers"]
THREADS: dict[str, Any] = dict.fromkeys(KINDS, (trees.LoopChild, trees.ThreadChild))
THREADS["peers"] = (peers.LoopPeer, peers.ThreadPeer)


def load(kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress((RECORDED / f"{kind}.jsonl.gz").read_bytes()).splitlines()]


async def mismatches(kind: str, scenarios: list[dict[str, Any]], kinds: Any = None, virtual: bool = False) -> list[Any]:
    Scheduler.install()
    wrong = []
    for recorded in scenarios:
        options = {"kinds": kinds} if kinds else {}
        play = peers.play if kind == "peers" else trees.play
        played = json.loads(json.dumps(await play(recorded["scenario"], virtual=virtual, **options)))
        if kind == "peers":
            same = peers.comparable(played) == peers.comparable(recorded["outcome"])
        else:
            same = trees.comparable(played, kind) == trees.comparable(recorded["outcome"], kind)
        if not same:
            wrong.append((recorded["scenario"], recorded["outcome"], played))
    return wrong


@pytest.fixture(autouse=True)
def _quiet():
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("kind", KINDS)
def test_a_thousand_recorded_scenarios_play_out_as_on_otp(kind):
    assert len(load(kind)) == 1000
    assert run_virtually(mismatches(kind, load(kind), virtual=True))[:1] == []


@pytest.mark.parametrize("kind", KINDS)
def test_they_do_so_whatever_the_order_in_which_actors_run(kind):
    assert run_virtually(mismatches(kind, load(kind), virtual=True), seed=20_26)[:1] == []


@pytest.mark.parametrize("kind", KINDS)
def test_they_do_so_with_children_on_loops_and_threads_mixed(kind):
    assert asyncio.run(mismatches(kind, load(kind)[:40], THREADS[kind]))[:1] == []


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_they_do_so_with_children_in_processes_too(kind):
    assert asyncio.run(mismatches(kind, load(kind)[:6], (*THREADS[kind], trees.ProcessChild)))[:1] == []
