"""A new version beside what the active one offers: told, held or refused, as the service wishes."""

from __future__ import annotations

from typing import Any

import pytest

from henslowe.actors.endpoints import Contract
from henslowe.actors.ids import BuildId, InstanceId, ServiceName, VersionKey
from henslowe.actors.launch import LaunchSpec
from henslowe.actors.messages import Action, Command, CreateVersion, InstanceUp, OnBreak, Strategy, VersionBuilt
from henslowe.actors.versions import EffectKind, Facts, State, VersionState
from henslowe.actors.versions.contracts import ContractRow, announces, unneeded
from henslowe.actors.versions.machine import transition

HELLO = ServiceName("hello")
LAUNCH = LaunchSpec(command=("python", "server.py"))


def offering(digest: str, *required: str) -> Contract:
    properties = {name: {"type": "string"} for name in ("who", *required)}
    schema = {"type": "object", "properties": properties, "required": list(required)}
    return Contract(tools=({"name": "greet", "inputSchema": schema},), digest=digest)


OLD, BREAKING = offering("old"), offering("new", "where")


class Service:
    """Versions of one service, each compared with the one that is active."""

    def __init__(self) -> None:
        self.state = State()
        self.ready: set[int] = set()
        self.offered: dict[int, Contract] = {}

    def do(self, message: Any) -> None:
        row = self.state.service
        contract = self.offered.get(row.active) if row is not None else None
        facts = Facts(1_000.0, ready=frozenset(self.ready), active_contract=contract)
        self.last = transition(self.state, message, facts)
        self.state = self.last.state

    def build(self, contract: Contract, semver: str = "1.0.0", on_break: OnBreak = OnBreak.GO) -> Any:
        digest = f"{contract.digest}-{semver}-{len(self.state.versions)}"
        self.do(CreateVersion(HELLO, digest, Strategy.IMMEDIATE, 1_000))
        key = self.last.reply.version
        self.offered[key.number] = contract
        self.do(VersionBuilt(key, BuildId(digest), semver, LAUNCH, contract, on_break=on_break))
        return key

    def ship(self, contract: Contract, **options: Any) -> VersionKey:
        key: VersionKey = self.build(contract, **options)
        self.up(key)
        return key

    def up(self, key: VersionKey) -> None:
        self.ready.add(key.number)
        self.do(InstanceUp(key, InstanceId(f"{key}#1"), self.offered[key.number], "modern", 0.2))

    def row(self, key: VersionKey) -> Any:
        return self.state.versions[key.number]


@pytest.fixture
def hello() -> Service:
    service = Service()
    service.ship(OLD)
    return service


def test_a_break_is_told_with_the_version_and_when_it_goes_live(hello: Service) -> None:
    key = hello.ship(BREAKING)
    assert hello.row(key).state is VersionState.ACTIVE
    assert hello.row(key).metadata["contract"] == {
        "against": 1,
        "step": "major",
        "changes": [{"step": "major", "subject": "tool 'greet'", "text": "argument where is required"}],
        "more": 0,
    }
    changed = next(event for event in hello.last.events if event.type == "CONTRACT_CHANGED")
    assert changed.data["step"] == "major"


def test_the_first_version_is_compared_with_nothing() -> None:
    service = Service()
    assert "contract" not in service.row(service.ship(OLD)).metadata


def test_a_break_that_the_semver_does_not_announce_fails_where_the_service_says_so(hello: Service) -> None:
    key = hello.build(BREAKING, on_break=OnBreak.FAIL)
    row = hello.row(key)
    assert (row.state, row.stage) == (VersionState.FAILED, "contract")
    assert row.reason.splitlines() == [
        "it breaks clients of hello@1 (v1.0.0), and its version 1.0.0 does not say so",
        "tool 'greet': argument where is required",
        "hint: raise the major version, or set on_break to go or hold",
    ]
    assert EffectKind.ENSURE not in [effect.kind for effect in hello.last.effects]


@pytest.mark.parametrize("on_break", [OnBreak.FAIL, OnBreak.HOLD])
def test_an_announced_break_goes_on(hello: Service, on_break: OnBreak) -> None:
    assert hello.row(hello.ship(BREAKING, semver="2.0.0", on_break=on_break)).state is VersionState.ACTIVE


@pytest.mark.parametrize("on_break", list(OnBreak))
def test_what_breaks_nobody_goes_on(hello: Service, on_break: OnBreak) -> None:
    same = Contract(tools=({**OLD.tools[0], "description": "Greets."},), digest="words")
    assert hello.row(hello.ship(same, on_break=on_break)).state is VersionState.ACTIVE


def test_a_held_break_meets_no_traffic_until_a_person_says_so(hello: Service) -> None:
    key = hello.ship(BREAKING, on_break=OnBreak.HOLD)
    assert hello.row(key).state is VersionState.STAGED
    assert hello.state.service is not None
    assert hello.state.service.held
    hello.do(Command(HELLO, Action.PROMOTE, "ann"))
    assert hello.row(key).state is VersionState.ACTIVE


@pytest.mark.parametrize(
    ("old", "new", "announced"),
    [
        ("1.9.9", "2.0.0", True),
        ("1.0.0", "1.1.0", False),
        ("0.3.1", "0.4.0", True),
        ("0.3.1", "0.3.2", False),
        ("2.0.0", "1.0.0", False),
        ("1.0.0+7", "2.0.0-rc.1", True),
    ],
)
def test_a_semver_announces_a_break_by_its_first_number_that_counts(old: str, new: str, *, announced: bool) -> None:
    assert announces(old, new) is announced


def test_a_kept_contract_comes_back_whole() -> None:
    row = ContractRow.of(HELLO, BREAKING)
    assert ContractRow.model_validate(row.model_dump()).contract == BREAKING


def test_contracts_that_no_version_has_any_more_are_unneeded(hello: Service) -> None:
    other = ServiceName("other")
    kept = [(HELLO, "old"), (HELLO, "gone"), (other, "gone")]
    assert unneeded(kept, HELLO, list(hello.state.versions.values())) == [(HELLO, "gone")]
