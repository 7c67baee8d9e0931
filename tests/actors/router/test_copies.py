"""What copies of live calls say beside the verdict."""

from __future__ import annotations

from henslowe.actors.messages import Decision
from henslowe.actors.pairing import Answer, Asked, answer_of, lost
from henslowe.actors.router.copies import Mirrorings
from henslowe.actors.router.verdict import Finding
from henslowe.actors.routes import Outcome

GOOD, OTHER = answer_of({"result": {"content": []}}), answer_of({"result": {"content": [1]}})
BAD, COMPLAINS = lost(Outcome.CRASH, "it ended"), lost(Outcome.TOOL_ERROR, "no such note")
HOLD = Finding(Decision.HOLD, "3 calls", {"calls": 3})


def copies(*new: Answer, dropped: int = 0) -> Mirrorings:
    found = Mirrorings(lambda value: value)
    for answer in new:
        found.add(Asked("look", answer, [GOOD], beside=[GOOD]), 7)
    found.add(Asked("look", GOOD, [GOOD], beside=[GOOD]), 7 + dropped)
    return found


def test_good_copies_are_told_and_decide_nothing() -> None:
    finding = copies(GOOD, OTHER, dropped=2).beside(HOLD, alpha=0.01)
    assert finding.decision is Decision.HOLD
    assert finding.why == "3 calls; 3 mirrored: 2 alike, 1 differs (look: content[]), 2 dropped"
    assert finding.numbers["calls"] == 3
    assert finding.numbers["mirror"]["differing"] == 1


def test_a_server_that_breaks_on_copies_is_taken_back() -> None:
    finding = copies(*[BAD] * 9).beside(HOLD, alpha=0.01)
    assert finding.decision is Decision.ROLL_BACK
    assert finding.why.startswith("10 mirrored: 1 alike, 9 fail on the new version only; evidence ")


def test_a_tool_that_lacks_what_only_the_stable_version_was_told_is_not() -> None:
    finding = copies(*[COMPLAINS] * 50).beside(HOLD, alpha=0.01)
    assert finding.decision is Decision.HOLD
    assert "50 fail on the new version only" in finding.why


def test_what_was_decided_already_stays_decided() -> None:
    decided = Finding(Decision.ROLL_BACK, "it fails", {})
    assert copies(*[BAD] * 9).beside(decided, alpha=0.01).why.startswith("it fails; 10 mirrored")
