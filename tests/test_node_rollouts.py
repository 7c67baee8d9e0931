"""What is said of a rollout: the step, the calls, and what it waits for, in the machine's own words."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import pytest

from henslowe.actors.hooks import HookRow, HookState
from henslowe.actors.hooks.rows import Origin
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.messages import Action, Command
from henslowe.actors.traffic import ServiceTraffic, TrialStatus
from henslowe.actors.versions import Halt, Halts, LineRow, PendingRow, ServiceRow, VersionRow, VersionState
from henslowe.actors.versions.gates import Gate
from henslowe.config.freeze import Window
from henslowe.config.hooks import HookPoint
from henslowe.config.ramp import Plan, Step
from henslowe.node_rollouts import command_reply, freeze_reply, node_freeze_reply, rollout_reply, waiting_detail
from henslowe.transport.admin.models.services import RolloutReply

HELLO = ServiceName("hello")
PLAN = Plan(
    steps=(
        Step(weight=5),
        Step(weight=25, min_calls=50, gate="owner"),
        Step(weight=50, hold=600),
        Step(weight=75, hold="forever", min_calls=0),
    )
)
NOW_S = 1_000.0


def service(step: int, **fields: Any) -> ServiceRow:
    given = PLAN.steps[step - 1]
    climbing = {"canary_weight": given.parts, "step": step, "steps": 4, "step_calls": given.min_calls}
    return ServiceRow(service=HELLO, active=1, canary=2, **{**climbing, **fields})


def told(row: ServiceRow, calls: int = 31, *, halts: Halts | None = None, **fields: Any) -> RolloutReply:
    canary = VersionRow(service=HELLO, number=2, state=VersionState.CANARY, plan=PLAN, **fields)
    numbers = MappingProxyType({"step": row.step, "step_calls": calls})
    trial = TrialStatus(VersionKey(HELLO, 2), VersionKey(HELLO, 1), False, "hold", "", True, numbers)
    reply = rollout_reply(row, {2: canary}, ServiceTraffic(HELLO, trial=trial), halts or Halts(now_s=NOW_S))
    assert reply is not None
    return reply


def test_a_command_that_waits_is_told_with_who_said_it_and_what_it_waits_for() -> None:
    gate = Gate(VersionKey(HELLO, 2), 4, HookPoint.PROMOTE_BEFORE)
    row = PendingRow.of(gate, Command(HELLO, Action.PROMOTE, "ann", reason="looks good"), NOW_S)
    asked = HookRow(
        id="1", service=HELLO, version=2, epoch=4, point=gate.point, name="ask", origin=Origin.SERVICE, gate=True
    )
    reply = command_reply(row, [asked])
    assert reply is not None
    assert (reply.command, reply.by, reply.reason, reply.since_s) == ("promote", "ann", "looks good", NOW_S)
    assert reply.words == "promote of v2 by ann waits for its hooks (promote:before)"
    agreed = command_reply(row, [asked.model_copy(update={"state": HookState.DONE})])
    assert agreed is not None
    assert (agreed.waits_for, agreed.words) == ("instance", "promote of v2 by ann waits for an instance that is up")
    assert command_reply(None, [asked]) is None


def test_a_step_is_told_with_its_calls_and_its_gate() -> None:
    reply = told(service(2))
    assert reply.words == "step 2 of 4: 25 %, 31 of 50 calls, waits for the gate `owner`"
    assert (reply.waits_for, reply.gate, reply.calls, reply.calls_needed) == ("gate", "owner", 31, 50)


@pytest.mark.parametrize(
    ("row", "calls", "words", "cause"),
    [
        (service(1), 3, "step 1 of 4: 5 %, 3 of 20 calls", "calls"),
        (service(1), 25, "step 1 of 4: 5 %, 25 calls, waits for the verdict", "verdict"),
        (
            service(3, step_until_s=NOW_S + 300),
            20,
            "step 3 of 4: 50 %, 20 calls, waits for the end of its 600 s (5 min left)",
            "time",
        ),
        (service(4, step_until_s=None), 9, "step 4 of 4: 75 %, waits for `henslowe resume hello`", "resume"),
        (service(1, held=True), 3, "step 1 of 4: 5 %, 3 of 20 calls, waits for `henslowe resume hello`", "held"),
    ],
)
def test_what_a_step_waits_for_is_told(row: ServiceRow, calls: int, words: str, cause: str) -> None:
    reply = told(row, calls)
    assert (reply.words, reply.waits_for) == (words, cause)


def test_figures_of_another_step_are_not_told_as_those_of_this_one() -> None:
    row = service(2)
    canary = VersionRow(service=HELLO, number=2, state=VersionState.CANARY, plan=PLAN, approved=True)
    numbers = MappingProxyType({"step": 1, "step_calls": 31})
    trial = TrialStatus(VersionKey(HELLO, 2), VersionKey(HELLO, 1), False, "hold", "", True, numbers)
    reply = rollout_reply(row, {2: canary}, ServiceTraffic(HELLO, trial=trial), Halts(now_s=NOW_S))
    assert reply is not None
    assert (reply.calls, reply.words) == (0, "step 2 of 4: 25 %, 0 of 50 calls")


def test_the_stopped_line_is_told_before_everything_else() -> None:
    line = LineRow(stopped=Halt(by="ann", why="outage", since_s=0.0))
    reply = told(service(2), halts=Halts(line, now_s=NOW_S))
    assert reply.words.endswith("waits for `henslowe start-the-line` (outage)")


def test_a_staged_version_that_waits_is_told_and_one_that_starts_is_not() -> None:
    row = ServiceRow(service=HELLO, active=1, staged=2)
    staged = VersionRow(service=HELLO, number=2, state=VersionState.STAGED)
    halts = Halts(now_s=NOW_S)
    assert rollout_reply(row, {2: staged}, None, halts) is None
    gated = staged.model_copy(update={"gate": "owner"})
    reply = rollout_reply(row, {2: gated}, None, halts)
    assert reply is not None
    assert reply.words == "built, waits for the gate `owner`"
    assert waiting_detail(row, gated, halts, up=True) == "waits for the gate `owner`"
    assert waiting_detail(row, gated, halts, up=False) == ""
    held = row.model_copy(update={"held": True})
    assert waiting_detail(held, gated, halts, up=True) == "waits for resume"


def test_freezes_are_told_with_their_end() -> None:
    halt = Halt(by="ann", why="audit", since_s=900.0, until_s=2_000.0)
    row = ServiceRow(service=HELLO, freeze=halt, windows=(Window(start="00:00", end="01:00", why="night"),))
    own = freeze_reply(row, Halts(now_s=NOW_S))
    assert own is not None
    assert (own.by, own.why, own.until_s) == ("ann", "audit", 2_000.0)
    window = freeze_reply(row, Halts(now_s=2_500.0))
    assert window is not None
    assert (window.by, window.why, window.until_s) == ("", "night", 3_600.0)
    assert freeze_reply(row, Halts(now_s=4_000.0)) is None
    for line, windows in ((LineRow(frozen=halt), ()), (LineRow(), row.windows)):
        assert node_freeze_reply(Halts(line, windows, NOW_S)) is not None
    assert node_freeze_reply(Halts(now_s=NOW_S)) is None
