"""One service of the pure machine and what its messages leave behind, for the tests that tell its life."""

from __future__ import annotations

from typing import Any

from henslowe.actors.endpoints import Contract
from henslowe.actors.ids import BuildId, InstanceId, ServiceName, VersionKey
from henslowe.actors.launch import LaunchSpec
from henslowe.actors.messages import (
    Action,
    Command,
    CreateVersion,
    Decision,
    DeclareService,
    InstanceBroken,
    InstanceDown,
    InstanceUp,
    Strategy,
    Verdict,
    VersionBuilt,
)
from henslowe.actors.versions import EffectKind, Facts, LineRow, Policy, State, TimeUp, Transition
from henslowe.actors.versions.machine import transition
from henslowe.config.ramp import Plan

HELLO = ServiceName("hello")
LAUNCH = LaunchSpec(command=("python", "server.py"))
MANY = tuple(f"unit-{i}" for i in range(40))


class Service:
    """One service and the rows that its messages leave behind; instances are up when the test says so."""

    def __init__(self, policy: Policy | None = None) -> None:
        self.state = State()
        self.now_s = 1_000.0
        self.units: tuple[str, ...] = ()
        self.ready: set[int] = set()
        self.policy = policy or Policy()
        self.line = LineRow()
        self.last = Transition(self.state)

    def do(self, message: Any) -> Transition:
        facts = Facts(self.now_s, self.units, frozenset(self.ready), self.policy, self.line)
        self.last = transition(self.state, message, facts)
        self.state = self.last.state
        self.ready -= {effect.version for effect in self.last.effects if effect.kind is EffectKind.RELEASE}
        return self.last

    @property
    def row(self) -> Any:
        return self.state.service

    def states(self) -> dict[int, str]:
        return {number: row.state.value for number, row in sorted(self.state.versions.items())}

    def effects(self) -> list[str]:
        return [effect.effect for effect in self.last.effects]

    def events(self) -> list[str]:
        return [f"{event.type} {event.status}" for event in self.last.events]

    def create(self, source: str, strategy: Strategy = Strategy.AUTO, **fields: Any) -> int:
        reply = self.do(CreateVersion(HELLO, source, strategy, 1_000, **fields)).reply
        return int(reply.version.number)

    def build(self, source: str, strategy: Strategy = Strategy.AUTO, plan: Plan | None = None) -> int:
        number = self.create(source, strategy, plan=plan or Plan())
        self.do(VersionBuilt(VersionKey(HELLO, number), BuildId(f"build-{source}"), "1.0.0", LAUNCH, Contract()))
        return number

    def up(self, number: int, digest: str = "") -> Transition:
        self.ready.add(number)
        key = VersionKey(HELLO, number)
        return self.do(InstanceUp(key, InstanceId(f"{key}#1"), Contract(digest=digest), "modern", 0.2))

    def down(self, number: int, *, expected: bool = False) -> Transition:
        self.ready.discard(number)
        return self.do(InstanceDown(VersionKey(HELLO, number), InstanceId("i"), "exit 1", expected))

    def broken(self, number: int) -> Transition:
        self.ready.discard(number)
        return self.do(InstanceBroken(VersionKey(HELLO, number), "ImportError: no module named x"))

    def ship(self, source: str) -> int:
        number = self.build(source, Strategy.IMMEDIATE)
        self.up(number)
        return number

    def verdict(self, number: int, decision: Decision, epoch: int | None = None) -> Transition:
        epoch = self.row.epoch if epoch is None else epoch
        return self.do(Verdict(HELLO, VersionKey(HELLO, number), epoch, decision, "31 of 40 calls failed"))

    def command(self, action: Action, **fields: Any) -> dict[str, Any]:
        reply: dict[str, Any] = self.do(Command(HELLO, action, "ann", **fields)).reply
        return reply

    def pass_probation(self) -> None:
        self.pass_until(self.row.probation_until_s)

    def pass_until(self, time_s: float) -> Transition:
        self.now_s = time_s
        return self.do(TimeUp(HELLO))


def declared(*command: str) -> DeclareService:
    return DeclareService(HELLO, LaunchSpec(command=command), "2.0.0")
