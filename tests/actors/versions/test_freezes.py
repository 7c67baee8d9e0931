"""Freezes and the stopped line: what is built waits, going back works, and a person may override all but the line."""

from __future__ import annotations

from typing import Any

import pytest

from henslowe.actors.ids import ServiceName
from henslowe.actors.messages import Action, Decision, LineAction, LineCommand, Strategy
from henslowe.actors.versions import Halt, Halts, LineRow, Policy, VersionRow
from henslowe.actors.versions.line import changed, replay_line
from henslowe.actors.versions.reports import next_time_s
from henslowe.actors.versions.rows import Kind, ServiceRow
from henslowe.actors.versions.waiting import frozen
from henslowe.config.freeze import Window
from henslowe.config.ramp import Plan, Step
from henslowe.errors import Conflict
from tests.actors.versions.life import MANY, Service, declared

CLIMB = Plan(steps=(Step(weight=5), Step(weight=25), Step(weight=50)))
NIGHT = Window(start="22:00", end="06:00", why="night")
MIDNIGHT_S = 86_400.0 * 20_000
MORNING_S = MIDNIGHT_S + 6 * 3600
STOPPED = LineRow(stopped=Halt(by="ann", why="outage", since_s=0.0))


@pytest.fixture
def frozen_hello(hello: Service) -> Service:
    """Version 1 serves, version 2 came up in a freeze."""
    hello.ship("a")
    hello.command(Action.FREEZE, reason="audit", until_s=hello.now_s + 600)
    hello.up(hello.build("b"))
    return hello


def test_what_is_built_in_a_freeze_waits_staged(frozen_hello: Service) -> None:
    assert frozen_hello.states() == {1: "ACTIVE", 2: "STAGED"}
    assert not frozen_hello.last.events


def test_at_the_end_of_the_freeze_it_goes_on_by_itself(frozen_hello: Service) -> None:
    frozen_hello.pass_until(frozen_hello.now_s + 600)
    assert frozen_hello.states() == {1: "ARCHIVED", 2: "ACTIVE"}
    assert frozen_hello.events()[0] == "FREEZE_END SUCCESS"
    assert frozen_hello.row.freeze is None


def test_a_newer_build_replaces_the_one_that_waits_for_the_end_of_a_freeze(frozen_hello: Service) -> None:
    frozen_hello.up(frozen_hello.build("c"))
    assert frozen_hello.states() == {1: "ACTIVE", 2: "SUPERSEDED", 3: "STAGED"}


def test_a_person_ends_a_freeze_and_what_waits_goes_on(frozen_hello: Service) -> None:
    assert frozen_hello.command(Action.UNFREEZE)["message"] == "the freeze of hello has ended"
    assert frozen_hello.states()[2] == "ACTIVE"
    assert frozen_hello.command(Action.UNFREEZE)["message"] == "hello is not frozen by hand"


def test_freezing_twice_is_freezing_once_and_another_end_is_another_freeze(hello: Service) -> None:
    hello.ship("a")
    assert hello.command(Action.FREEZE)["changed"]
    assert not hello.command(Action.FREEZE)["changed"]
    assert hello.command(Action.FREEZE, until_s=hello.now_s + 60)["changed"]
    with pytest.raises(Conflict, match="an end in the future"):
        hello.command(Action.FREEZE, until_s=hello.now_s - 1)


def test_a_promotion_in_a_freeze_is_refused_with_the_way_around_it(frozen_hello: Service) -> None:
    with pytest.raises(Conflict, match=r"it waits for the end of the freeze \(audit\)") as caught:
        frozen_hello.command(Action.PROMOTE)
    assert caught.value.hint == "henslowe promote hello --override-freeze WHY"


def test_an_override_is_an_event_and_lets_the_whole_rollout_through(hello: Service) -> None:
    hello.ship("a")
    hello.units = MANY
    hello.command(Action.FREEZE)
    hello.up(hello.build("b", Strategy.CANARY, CLIMB))
    hello.command(Action.PROMOTE, override_freeze="mends the outage")
    assert hello.events()[0] == "FREEZE_OVERRIDDEN INFO"
    assert hello.last.events[0].data["reason"] == "mends the outage"
    hello.verdict(2, Decision.ADVANCE)
    assert hello.row.step == 2
    hello.up(hello.build("c", Strategy.CANARY, CLIMB))
    assert hello.states()[3] == "STAGED", "an override is for one version"


def test_a_canary_under_way_stays_at_its_step_in_a_freeze_and_is_still_taken_back(canary: Service) -> None:
    canary.command(Action.FREEZE)
    assert not canary.verdict(2, Decision.PROMOTE).events
    canary.verdict(2, Decision.ROLL_BACK)
    assert canary.states() == {1: "ACTIVE", 2: "ROLLED_BACK"}


def test_rollback_abort_restart_and_the_end_of_a_probation_work_in_a_freeze(hello: Service) -> None:
    for source in "abc":
        hello.ship(source)
    hello.line = STOPPED
    hello.command(Action.FREEZE)
    hello.command(Action.ROLLBACK)
    assert hello.row.active == 2
    hello.command(Action.RESTART)
    hello.up(4)
    assert hello.row.active == 4
    hello.build("d")
    hello.command(Action.ABORT)
    assert hello.states()[5] == "FAILED"


def test_the_nodes_windows_and_the_services_own_keep_versions_until_they_end() -> None:
    for where in ("node", "service"):
        hello = Service(Policy(windows=(NIGHT,) if where == "node" else ()))
        hello.now_s = MIDNIGHT_S
        plan = Plan(windows=(NIGHT,) if where == "service" else ())
        hello.up(hello.build("a", plan=plan))
        assert hello.states() == {1: "STAGED"}, "a first version waits, too"
        halts = Halts(LineRow(), hello.policy.windows, hello.now_s)
        assert next_time_s(hello.row, hello.state.versions[1], halts) == MORNING_S
        hello.pass_until(MORNING_S)
        assert hello.states() == {1: "ACTIVE"}


def test_of_several_freezes_the_one_that_ends_last_is_told() -> None:
    row = VersionRow(service=ServiceName("hello"), number=1)
    service = ServiceRow(service=row.service, freeze=Halt(by="ann", why="audit", since_s=0.0, until_s=MORNING_S - 60))
    wait = frozen(service, row, Halts(LineRow(), (NIGHT,), MIDNIGHT_S))
    assert wait is not None
    assert (wait.words, wait.until_s) == ("the end of the freeze at 06:00 UTC (night)", MORNING_S)
    wait = frozen(service, row, Halts(LineRow(frozen=Halt(by="ann", since_s=0.0)), (NIGHT,), MIDNIGHT_S))
    assert wait is not None
    assert (wait.words, wait.until_s) == ("the end of the freeze", 0.0)


def test_a_declared_service_follows_its_configuration_in_a_freeze(hello: Service) -> None:
    hello.line = STOPPED
    hello.do(declared("time-server"))
    hello.up(1)
    assert (hello.states(), hello.row.kind) == ({1: "ACTIVE"}, Kind.DECLARED)


# -- the line ----------------


def test_a_stopped_line_keeps_everything_and_nobody_overrides_it(canary: Service) -> None:
    canary.line = STOPPED
    assert not canary.verdict(2, Decision.PROMOTE).events
    with pytest.raises(Conflict, match="henslowe start-the-line") as caught:
        canary.command(Action.PROMOTE_FULL, override_freeze="please")
    assert caught.value.hint == "henslowe start-the-line"
    canary.line = LineRow()
    canary.verdict(2, Decision.PROMOTE)
    assert canary.states()[2] == "ACTIVE"


def test_what_waits_for_the_line_goes_on_when_it_is_started(hello: Service) -> None:
    hello.ship("a")
    hello.line = STOPPED
    hello.up(hello.build("b"))
    assert hello.states()[2] == "STAGED"
    hello.line = LineRow()
    hello.pass_until(hello.now_s + 1)
    assert hello.states()[2] == "ACTIVE"


def test_the_line_is_stopped_and_started_once_and_its_events_replay_to_its_row() -> None:
    row, events = LineRow(), []
    said: list[str] = []
    script: list[tuple[LineAction, dict[str, Any]]] = [
        (LineAction.STOP, {"reason": "outage"}),
        (LineAction.STOP, {"reason": "again"}),
        (LineAction.FREEZE, {"until_s": 50.0}),
        (LineAction.FREEZE, {"until_s": 50.0}),
        (LineAction.FREEZE, {"until_s": 60.0}),
        (LineAction.START, {}),
        (LineAction.START, {}),
        (LineAction.UNFREEZE, {}),
    ]
    for action, fields in script:
        result = changed(row, LineCommand(action, "ann", **fields), 10.0)
        row = result.row
        if result.event is not None:
            events.append(result.event)
            said.append(result.event.type)
        assert replay_line(events) == {"line": row}
    assert said == ["LINE_STOPPED", "FREEZE_START", "FREEZE_START", "LINE_STARTED", "FREEZE_END"]
    assert events[0].data["reason"] == "outage"
    with pytest.raises(Conflict, match="an end in the future"):
        changed(row, LineCommand(LineAction.FREEZE, "ann", until_s=9.0), 10.0)
