"""Evidence over restarts: packed a piece at a time while calls go on, it goes on as if there had been no restart."""

from __future__ import annotations

import random
from typing import Any

from henslowe.actors.router import Evidence, Rules
from henslowe.actors.router.pieces import PIECE, at_once, packed, unpacked
from henslowe.actors.router.randomised import UNITS_MAX, RandomisedStream
from henslowe.actors.router.verdict import ALL, LIGHT, OWN, SLOW
from henslowe.actors.routes import Arm, CallRecord, Outcome
from henslowe.storage import codec
from tests.actors.router.test_evidence import BUSY, CANARY, call

POOLED = (ALL, OWN, SLOW)


def some_calls(count: int, units: int, seed: int = 3) -> list[CallRecord]:
    rng = random.Random(seed)
    return [
        call(
            f"u{rng.randrange(units)}",
            Outcome.TOOL_ERROR if rng.random() < 0.1 else Outcome.OK,
            Arm.CANARY if rng.random() < 0.3 else Arm.STABLE,
            tool="",
        )
        for _ in range(count)
    ]


def told(evidence: Evidence, *calls: CallRecord) -> Evidence:
    for record in calls:
        evidence.update(record)
    return evidence


def learned(stream: RandomisedStream) -> dict[str, Any]:
    """All of it, as data that can be compared."""
    dumped = stream.dump()
    many = {part: list(dumped[part]) for part in ("units", "spent")}
    found: dict[str, Any] = codec.decode(codec.encode(dumped | many))
    return found


def same(one: Evidence, other: Evidence) -> bool:
    streams = all(learned(one._of(name)) == learned(other._of(name)) for name in POOLED)
    return streams and one.numbers() == other.numbers()


def test_evidence_goes_on_where_it_was_dumped() -> None:
    calls = some_calls(600, 60)
    whole = told(Evidence(CANARY, Rules(), BUSY), *calls)
    first = told(Evidence(CANARY, Rules(), BUSY), *calls[:300])
    second = told(Evidence.load(CANARY, Rules(), at_once(first.dump())), *calls[300:])
    # streams of tools begin anew
    assert second.numbers() | {"evidence": 0} == whole.numbers() | {"evidence": 0}
    assert all(learned(second._of(name)) == learned(whole._of(name)) for name in POOLED)


def test_what_is_learned_while_evidence_is_packed_is_not_in_it() -> None:
    """Units that have calls meanwhile, are counted to the end, come back, or are new: the dump has none of it."""
    calls, meanwhile = some_calls(6_000, 3_000), some_calls(40_000, 4_000, seed=4)
    busy, apart = (told(Evidence(CANARY, Rules(), BUSY), *calls) for _ in range(2))
    expected = Evidence.load(CANARY, Rules(), at_once(apart.dump()))
    work, dumped, steps = busy.dump(), None, 0
    next(work)
    while dumped is None:
        told(busy, *meanwhile[500 * steps : 500 * steps + 500])
        try:
            next(work)
        except StopIteration as made:
            dumped = made.value
        steps += 1
    assert steps > 3 * UNITS_MAX / PIECE
    assert same(Evidence.load(CANARY, Rules(), dumped), expected)
    told(apart, *meanwhile[: 500 * steps])
    assert same(busy, apart), "and to have been dumped changes nothing"


def test_a_step_packs_a_piece_at_most_however_much_there_is() -> None:
    evidence = told(Evidence(CANARY, Rules(), BUSY), *some_calls(20_000, 15_000))
    assert sum(len(evidence._of(name).units) for name in POOLED) > 2 * UNITS_MAX
    listed, *costs, written = evidence.dump()
    assert max(costs) == PIECE
    assert listed == written > PIECE, "whoever goes on with it may want to rest before the first piece and the write"
    streams = at_once(evidence.dump())["streams"]
    for part, most in (("units", PIECE), ("spent", PIECE * LIGHT)):
        assert max(len(codec.decode(piece)) for name in POOLED for piece in streams[name][part]) == most


def test_evidence_that_was_written_in_one_piece_is_understood() -> None:
    """As it was before it was packed."""
    evidence = told(Evidence(CANARY, Rules(), BUSY), *some_calls(600, 60))
    dumped = at_once(evidence.dump())
    for part in (*dumped["streams"].values(), dumped["acceptance"]):
        for name in part.keys() & {"units", "spent"}:
            part[name] = list(unpacked(part[name]))
    assert same(Evidence.load(CANARY, Rules(), dumped), Evidence.load(CANARY, Rules(), at_once(evidence.dump())))


def test_nothing_is_packed_as_nothing() -> None:
    assert at_once(packed(())) == []
    assert list(unpacked([])) == []
