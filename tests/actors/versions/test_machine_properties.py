"""The version machine under any sequence of messages: invariants, replay, and nothing twice."""

from __future__ import annotations

from typing import Any

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from henslowe.actors.endpoints import Contract
from henslowe.actors.ids import BuildId, InstanceId, ServiceName, VersionKey
from henslowe.actors.launch import LaunchSpec
from henslowe.actors.messages import (
    Action,
    Command,
    CreateVersion,
    Decision,
    DeclareService,
    HooksRefused,
    InstanceBroken,
    InstanceDown,
    InstanceUp,
    Rehearsed,
    Resemblance,
    RetireService,
    Strategy,
    Verdict,
    VersionBroken,
    VersionBuilt,
)
from henslowe.actors.versions import (
    Boot,
    EffectKind,
    Facts,
    Halt,
    Halts,
    Kind,
    LineRow,
    Policy,
    State,
    TimeUp,
    TryAgain,
    VersionState,
    replay,
    transition,
)
from henslowe.actors.versions.waiting import at_step, kept
from henslowe.config.exposure import AbTest, Exposure, Mirror
from henslowe.config.freeze import Window
from henslowe.config.hooks import HookPoint
from henslowe.config.ramp import Plan, Step
from henslowe.errors import Conflict, NotFound

SERVICE = ServiceName("hello")
POLICY = Policy(keep_versions=2, probation_s=100.0)
SOURCES = st.sampled_from("abc")
EXPOSURES = st.sampled_from(
    [
        Exposure(),
        Exposure(replay="hold", replay_differences="gate"),
        Exposure(ab=AbTest(percent=20)),
        Exposure(replay="report", mirror=Mirror(only=True)),
    ]
)
NIGHT = Window(start="00:10", end="00:20")
"""The clock of a life begins a quarter of an hour after midnight."""
PLANS = st.sampled_from(
    [
        Plan(),
        Plan(steps=(Step(weight=5), Step(weight=25, gate="owner"), Step(weight=50, hold=60)), warm_s=30),
        Plan(steps=(Step(weight=5, hold="forever"), Step(weight=100)), gate_last="board"),
        Plan(gate_first="owner", windows=(NIGHT,), warm_s=0),
    ]
)
HALT = Halt(by="ann", since_s=0.0)
LINES = st.sampled_from([LineRow(), LineRow(), LineRow(stopped=HALT), LineRow(frozen=HALT)])
NUMBERS = st.integers(1, 12)


_ON_THE_WAY = (VersionState.STAGED, VersionState.CANARY)
_FORWARD = (VersionState.CANARY, VersionState.ACTIVE)


class Life(RuleBasedStateMachine):
    """One service, any message at any time, with instances that live as the effects say or worse."""

    def __init__(self) -> None:
        super().__init__()
        self.state = State()
        self.events: list[Any] = []
        self.ready: set[int] = set()
        self.now_s = 1_000.0
        self.units: tuple[str, ...] = ()
        self.numbers: set[int] = set()
        self.rarely = False
        self.captured = False
        self.line = LineRow()

    def send(self, message: Any) -> None:
        before = self.state
        facts = Facts(self.now_s, self.units, frozenset(self.ready), POLICY, self.line, captured=self.captured)
        try:
            result = transition(before, message, facts)
        except (Conflict, NotFound):
            return
        self.events += result.events
        self.state = result.state
        self.ready -= {effect.version for effect in result.effects if effect.kind is EffectKind.RELEASE}
        if not result.events:
            assert result.state.service == before.service
            assert dict(result.state.versions) == dict(before.versions)
        if not isinstance(message, Boot):
            self.check_promotions(before)
        if not isinstance(message, Command):
            self.check_waits(before)
        fresh = set(result.state.versions) - set(before.versions)
        assert not fresh & self.numbers, "a number was used again"
        self.numbers |= fresh

    def check_promotions(self, before: State) -> None:
        for number, row in self.state.versions.items():
            was = before.versions.get(number)
            newly = was is None or was.state is not row.state
            if newly and row.state in (VersionState.CANARY, VersionState.ACTIVE):
                assert number in self.ready, f"{number} serves, but its instance was not up"

    def check_waits(self, before: State) -> None:
        """Nothing but a person takes a version forward that has to wait, and nobody without a word through a freeze."""
        service, after = before.service, self.state.service
        halts = Halts(self.line, POLICY.windows, self.now_s)
        for number, row in before.versions.items():
            now = self.state.versions.get(number)
            if service is None or after is None or now is None or row.state not in _ON_THE_WAY:
                continue
            forward = now.state in _FORWARD and now.state is not row.state
            step_taken = now.state is row.state is VersionState.CANARY and after.step > service.step
            if not forward and not step_taken:
                continue
            assert kept(after, row, halts) is None or row.restart_of
            if row.state is VersionState.CANARY:
                step = row.plan.steps_of(service.canary_weight)[max(1, service.step) - 1]
                assert at_step(service, row, step, halts) is None
                assert step_taken or service.step >= service.steps, "a step was skipped"

    @initialize(declared=st.sampled_from([False, False, False, True]), units=st.sampled_from([0, 40]))
    def begin(self, declared: bool, units: int) -> None:
        self.rarely = declared
        self.units = tuple(f"u{i}" for i in range(units))

    # -- messages ----------------

    @rule(source=SOURCES, strategy=st.sampled_from(Strategy), force=st.booleans(), exposure=EXPOSURES, plan=PLANS)
    def edit(self, source: str, strategy: Strategy, force: bool, exposure: Exposure, plan: Plan) -> None:
        # Steps and another exposure do not go together: a manifest that has both is refused.
        plan = plan.model_copy(update={"steps": ()}) if exposure.beside else plan
        self.send(CreateVersion(SERVICE, source, strategy, 1_000, force, exposure=exposure, plan=plan))

    @rule(number=NUMBERS, build=SOURCES)
    def build(self, number: int, build: str) -> None:
        contract = Contract(tools=({"name": build},), digest=build)
        self.send(
            VersionBuilt(
                VersionKey(SERVICE, number), BuildId(build), "1.0.0", LaunchSpec(command=("run",)), contract, "env"
            )
        )

    @rule(source=SOURCES, strategy=st.sampled_from(Strategy), comes_up=st.booleans(), exposure=EXPOSURES, plan=PLANS)
    def ship(self, source: str, strategy: Strategy, comes_up: bool, exposure: Exposure, plan: Plan) -> None:
        """The usual way of an edit, so that runs get far."""
        self.edit(source, strategy, True, exposure, plan)
        if self.state.service is not None and self.state.service.kind is Kind.DEVELOPED:
            number = self.state.service.last_number
            self.build(number, source)
            if comes_up:
                self.come_up_now(number)

    @rule(number=NUMBERS, late=st.booleans(), point=st.sampled_from(HookPoint))
    def hooks_refuse(self, number: int, late: bool, point: HookPoint) -> None:
        if self.state.service is not None:
            epoch = self.state.service.epoch - late
            self.send(HooksRefused(VersionKey(SERVICE, number), epoch, point, "no"))

    @rule(number=NUMBERS, superseded=st.booleans())
    def fail(self, number: int, superseded: bool) -> None:
        self.send(VersionBroken(VersionKey(SERVICE, number), "test", "1 failed", superseded))

    @precondition(lambda self: self.rarely)
    @rule(flag=SOURCES)
    def declare(self, flag: str) -> None:
        self.send(DeclareService(SERVICE, LaunchSpec(command=("run", flag))))

    @precondition(lambda self: self.rarely)
    @rule()
    def retire(self) -> None:
        self.send(RetireService(SERVICE))

    @precondition(lambda self: self.state.service is not None and self.state.service.wanted)
    @rule(data=st.data())
    def come_up(self, data: Any) -> None:
        self.come_up_now(data.draw(st.sampled_from(sorted(self.state.service.wanted))))

    def come_up_now(self, number: int) -> None:
        self.ready.add(number)
        key = VersionKey(SERVICE, number)
        self.send(InstanceUp(key, InstanceId(f"{key}#1"), Contract(digest="x"), "modern", 0.1))

    @rule(number=NUMBERS, expected=st.booleans())
    def go_down(self, number: int, expected: bool) -> None:
        self.ready.discard(number)
        self.send(InstanceDown(VersionKey(SERVICE, number), InstanceId("i"), "exit 1", expected))

    @precondition(lambda self: self.state.service is not None and self.state.service.wanted)
    @rule(data=st.data())
    def crash(self, data: Any) -> None:
        number = data.draw(st.sampled_from(sorted(self.state.service.wanted)))
        if data.draw(st.booleans()):
            self.go_down(number, False)
        else:
            self.break_down(number)

    @rule(number=NUMBERS)
    def break_down(self, number: int) -> None:
        self.ready.discard(number)
        self.send(InstanceBroken(VersionKey(SERVICE, number), "exit 1"))

    @rule(number=NUMBERS, behind=st.sampled_from([0, 0, 0, 1]), decision=st.sampled_from(Decision))
    def judge(self, number: int, behind: int, decision: Decision) -> None:
        epoch = self.state.service.epoch - behind if self.state.service else 0
        self.send(Verdict(SERVICE, VersionKey(SERVICE, number), epoch, decision, "because"))

    @precondition(lambda self: self.state.service is not None)
    @rule(decision=st.sampled_from([Decision.PROMOTE, Decision.ADVANCE, Decision.ADVANCE, Decision.ROLL_BACK]))
    def judge_the_canary(self, decision: Decision) -> None:
        service = self.state.service
        number = service.canary or service.active
        self.send(Verdict(SERVICE, VersionKey(SERVICE, number), service.epoch, decision, "because"))

    @rule(action=st.sampled_from(Action), to_version=st.none() | NUMBERS, behind=st.sampled_from([None, 0, 1]))
    def command(self, action: Action, to_version: int | None, behind: int | None) -> None:
        epoch = self.state.service.epoch - behind if self.state.service and behind is not None else None
        before = self.state
        self.send(Command(SERVICE, action, "ann", "", epoch, to_version))
        if behind == 1:
            assert self.state.service == before.service

    @precondition(lambda self: self.state.service is not None)
    @rule(lasts_s=st.none() | st.sampled_from([1.0, 50.0]), ends=st.booleans())
    def freeze(self, lasts_s: float | None, ends: bool) -> None:
        until_s = self.now_s + lasts_s if lasts_s is not None else None
        self.send(Command(SERVICE, Action.FREEZE, "ann", until_s=until_s))
        if ends:
            self.send(Command(SERVICE, Action.UNFREEZE, "ann"))

    @rule(line=LINES)
    def pull_the_cord(self, line: LineRow) -> None:
        self.line = line
        self.send(TimeUp(SERVICE))

    @rule(action=st.sampled_from([Action.PROMOTE, Action.PROMOTE_FULL, Action.RESUME, Action.APPROVE]))
    def override(self, action: Action) -> None:
        before = self.state
        self.send(Command(SERVICE, action, "ann", override_freeze="it mends"))
        if self.line.stopped is not None and before.service is not None:
            assert (self.state.service.step, self.state.service.active) == (before.service.step, before.service.active)

    @rule(units=st.sampled_from([0, 5, 40]))
    def traffic(self, units: int) -> None:
        self.units = tuple(f"u{i}" for i in range(units))

    @rule(passed_s=st.sampled_from([1.0, 50.0, 200.0]))
    def time(self, passed_s: float) -> None:
        self.now_s += passed_s
        self.send(TimeUp(SERVICE))

    @rule(captured=st.booleans())
    def capture(self, captured: bool) -> None:
        self.captured = captured

    @precondition(lambda self: self.state.service is not None and self.state.service.staged)
    @rule(found=st.sampled_from(Resemblance))
    def rehearse(self, found: Resemblance) -> None:
        row = self.state.versions[self.state.service.staged]
        against = row.rehearsal.against if row.rehearsal is not None else 1
        self.send(Rehearsed(row.key, against, found, "because"))

    @rule(number=NUMBERS)
    def try_again(self, number: int) -> None:
        self.send(TryAgain(SERVICE, number))

    @rule(unclean=st.booleans())
    def boot(self, unclean: bool) -> None:
        self.ready.clear()
        self.send(Boot(SERVICE, unclean))

    # -- what always holds ----------------

    @invariant()
    def the_row_points_at_versions_of_the_right_state(self) -> None:
        service, versions = self.state.service, self.state.versions
        if service is None:
            return
        by_state = {state: [n for n, row in versions.items() if row.state is state] for state in VersionState}
        assert by_state[VersionState.ACTIVE] == ([service.active] if service.active else [])
        assert by_state[VersionState.CANARY] == ([service.canary] if service.canary else [])
        assert by_state[VersionState.STAGED] == ([service.staged] if service.staged else [])
        assert len(by_state[VersionState.DEVELOPMENT]) <= 1
        for number in service.wanted | ({service.permanent} - {0}):
            assert number in versions
        if service.previous:
            assert versions[service.previous].state in (VersionState.ARCHIVED, VersionState.ROLLED_BACK)
            assert service.kind is Kind.DEVELOPED

    @invariant()
    def a_canary_climbs_and_nothing_else_does(self) -> None:
        service = self.state.service
        if service is None:
            return
        if not service.canary:
            assert (service.step, service.steps, service.weights) == (0, 0, ())
            return
        assert 1 <= service.step <= service.steps
        epochs, weights = zip(*service.weights, strict=True)
        assert list(epochs) == sorted(set(epochs))
        assert list(weights) == sorted(set(weights))
        assert weights[-1] == service.canary_weight
        assert epochs[-1] <= service.epoch

    @invariant()
    def only_a_version_before_can_be_cold(self) -> None:
        service = self.state.service
        if service is None:
            return
        assert service.previous or not (service.cold or service.warm_until_s)
        assert not (service.cold and service.holdback)
        waiting = [row for row in self.state.versions.values() if row.gate]
        assert all(row.state in _ON_THE_WAY and not row.approved for row in waiting)

    @invariant()
    def probation_is_one_thing(self) -> None:
        service = self.state.service
        if service is None:
            return
        on_probation = [n for n, row in self.state.versions.items() if row.probation]
        assert on_probation == ([service.active] if service.probation_until_s else [])
        if service.holdback:
            assert service.previous
            assert service.probation_until_s
        assert not (service.canary and not service.active)

    @invariant()
    def nothing_of_a_retired_service_is_left_to_do(self) -> None:
        service = self.state.service
        if service is not None and service.retired:
            assert not service.wanted
            assert not any(row.state.live for row in self.state.versions.values())

    @invariant()
    def replaying_the_events_gives_the_rows(self) -> None:
        services, versions = replay(self.events)
        assert services == ({SERVICE: self.state.service} if self.state.service else {})
        assert versions == {row.key: row for row in self.state.versions.values()}

    @invariant()
    def the_number_of_rows_is_bounded(self) -> None:
        assert len(self.state.versions) <= 2 * POLICY.keep_versions + 8


TestLife = Life.TestCase
TestLife.settings = settings(
    max_examples=120, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
