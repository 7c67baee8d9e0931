"""Who is on which arm where a service says more than the coin, and what such calls are evidence of."""

from __future__ import annotations

import pytest

from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.messages import Decision
from henslowe.actors.router import Evidence, Rules, Trial
from henslowe.actors.routes import Arm, CallRecord, Outcome, Route
from henslowe.actors.variants import Rule, Visitor, rule_of
from henslowe.config.exposure import AbTest, Exposure
from henslowe.transport.gateway.sticky import Unit
from henslowe.transport.gateway.visitors import counted, pick

HELLO = ServiceName("hello")
OLD, NEW = VersionKey(HELLO, 1), VersionKey(HELLO, 2)
AB = Exposure(ab=AbTest(header="X-Variant", values={"b": "candidate", "a": "stable"}))


def visitor(principal: str = "", client: str = "c1", **headers: str) -> Visitor:
    return Visitor(principal, client, {name.replace("_", "-"): value for name, value in headers.items()})


def route(exposure: Exposure, weight: int = 0) -> Route:
    return Route(HELLO, OLD, NEW, weight, "salt", 1, rule=rule_of(exposure, rollout=True))


def unit(who: Visitor | None, key: str = "s:1") -> Unit:
    return Unit(key, is_session=True, visitor=who)


def test_a_service_that_says_nothing_has_no_rule() -> None:
    assert rule_of(Exposure(), rollout=True) is None
    assert rule_of(Exposure(ab=AbTest(percent=20)), rollout=True) is None


def test_an_ab_test_is_over_with_its_rollout_and_stickiness_is_not() -> None:
    assert rule_of(AB, rollout=False) is None
    assert rule_of(Exposure(sticky="principal"), rollout=False) == Rule("principal")


@pytest.mark.parametrize(("value", "version"), [("b", NEW), ("a", OLD), ("z", OLD), (None, OLD)])
def test_a_client_that_sends_the_header_is_served_by_the_arm_that_it_names(value: str | None, version: object) -> None:
    who = visitor() if value is None else visitor(x_variant=value)
    assert pick(route(AB), unit(who))[1] == version


def test_the_header_beats_the_coin_either_way() -> None:
    assert pick(route(AB, 10_000), unit(visitor(x_variant="a"))) == (Arm.STABLE, OLD)
    assert pick(route(AB, 0), unit(visitor(x_variant="b"))) == (Arm.CANARY, NEW)


def test_a_chosen_call_is_marked_and_one_by_the_coin_is_not() -> None:
    assert counted(route(AB), unit(visitor(x_variant="b"))) == ("s:1", True, True)
    assert counted(route(AB), unit(visitor())) == ("s:1", True, False)
    assert counted(route(Exposure()), unit(None)) == ("s:1", True, False)


@pytest.mark.parametrize(
    ("sticky", "who", "key"),
    [
        ("principal", visitor("token:ann"), "p:token:ann"),
        ("principal", visitor(""), "c:c1"),
        ("client", visitor("token:ann"), "c:c1"),
        ("session", visitor("token:ann", x_variant="b"), "s:1"),
    ],
)
def test_what_stays_with_one_version_is_what_the_service_says(sticky: str, who: Visitor, key: str) -> None:
    exposure = Exposure.model_validate({**AB.model_dump(), "sticky": sticky})
    assert counted(route(exposure), unit(who))[:2] == (key, True)


def test_all_sessions_of_a_principal_are_on_one_arm() -> None:
    split = route(Exposure(sticky="principal"), 5_000)
    arms = {
        name: {pick(split, unit(visitor(name), f"s:{at}"))[0] for at in range(50)} for name in ("ann", "bob", "eve")
    }
    assert all(len(found) == 1 for found in arms.values())
    assert len({pick(split, unit(visitor(f"p{at}")))[0] for at in range(50)}) == 2


# -- as evidence ----------------


def call(arm: Arm, failed: bool, *, at: int = 0, chosen: bool = True) -> CallRecord:
    version = NEW if arm is Arm.CANARY else OLD
    outcome = Outcome.TRANSPORT if failed else Outcome.OK
    return CallRecord(version, arm, f"u{at}", True, "echo", outcome, 0.01, 0.0, 1, chosen=chosen)


def evidence(share: float = 0.2) -> Evidence:
    return Evidence(Trial(HELLO, 1, NEW, OLD, share, by_person=True), Rules())


def test_calls_whose_caller_chose_the_arm_are_no_evidence_by_comparison() -> None:
    found = evidence()
    for at in range(200):
        found.update(call(Arm.CANARY, at % 4 == 0, at=at))
        found.update(call(Arm.STABLE, False, at=at))
    assert found.log_evidence == evidence().log_evidence
    assert found.find().decision is Decision.HOLD


def test_they_are_counted_in_words_and_numbers() -> None:
    found = evidence()
    found.update(call(Arm.CANARY, True))
    found.update(call(Arm.CANARY, False, chosen=False))
    found.update(call(Arm.STABLE, False, chosen=False))
    finding = found.find()
    assert finding.why.startswith("v2: 1 of 2 calls failed (1 by choice); v1: 0 of 1 failed; evidence ")
    assert finding.why.endswith("a person decides")
    assert (finding.numbers["chosen"], finding.numbers["control_chosen"]) == (1, 0)


def test_the_breaker_counts_them() -> None:
    found = evidence(0.0)
    for at in range(5):
        found.update(call(Arm.CANARY, True, at=at))
    assert found.find().decision is Decision.ROLL_BACK


def test_nothing_but_a_person_promotes_an_ab_test() -> None:
    found = evidence()
    for at in range(2_000):
        found.update(call(Arm.CANARY if at % 5 == 0 else Arm.STABLE, False, at=at, chosen=False))
    assert found.find().decision is Decision.HOLD


def test_a_candidate_that_fails_by_comparison_is_taken_back_also_in_an_ab_test() -> None:
    found = evidence()
    for at in range(200):
        arm = Arm.CANARY if at % 5 == 0 else Arm.STABLE
        record = call(arm, arm is Arm.CANARY, at=at, chosen=False)
        found.update(record)
    assert found.find().decision is Decision.ROLL_BACK
