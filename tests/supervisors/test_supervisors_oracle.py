"""Our supervisors do what real OTP did, event by event, also when actors are scheduled in random order."""

from __future__ import annotations

import asyncio
import gzip
import json
import logging
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from henslowe.actors.kernel import (
    BRUTAL_KILL,
    IGNORE,
    INFINITY,
    KILL,
    NORMAL,
    SHUTDOWN,
    ActorExit,
    ChildSpec,
    DeleteChild,
    LoopActor,
    Ref,
    RestartChild,
    RestartType,
    StartChild,
    StartFailed,
    Stop,
    TerminateChild,
    WhichChildren,
)
from henslowe.errors import HensloweError
from henslowe.supervisors import AutoShutdown, DynamicSupervisor, Strategy, Supervisor
from henslowe.testing import run_virtually

RECORDED = Path(__file__).parent / "oracle"
SHUTDOWN_S = {5000: 5.0, "brutal_kill": BRUTAL_KILL, "infinity": INFINITY}
REASONS = {"shutdown_detail": (SHUTDOWN, "detail")}
STEP_S = 60.0


def load(kind: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in gzip.decompress((RECORDED / f"{kind}.jsonl.gz").read_bytes()).splitlines()]


def word(reason: Any) -> str:
    if isinstance(reason, str) and reason in (NORMAL, SHUTDOWN, "killed"):
        return reason
    return "shutdown_detail" if isinstance(reason, tuple) and reason[0] == SHUTDOWN else "error"


class Child(LoopActor):
    """Fails, ignores and ends as its scenario says, and tells the stage."""

    trap_exit = True

    def __init__(self, config: dict[str, Any], stage: Stage) -> None:
        super().__init__()
        self.config, self.stage = config, stage

    def init(self) -> Any:
        id_ = self.config["id"]
        self.stage.lives[id_] += 1
        self.life = self.stage.lives[id_]
        if self.life in self.config["fails"]:
            self.stage.events.append(["init_fails", id_, self.life])
            return Stop("init_failed")
        if self.life in self.config["ignores"]:
            self.stage.events.append(["ignores", id_, self.life])
            return IGNORE
        self.stage.events.append(["starts", id_, self.life])
        self.stage.newest[id_] = self.ref
        self.stage.known[self.ref] = (id_, self.life)
        return None

    def handle_cast(self, message: Any) -> Any:
        if message == "crash":
            raise RuntimeError("crash")
        return Stop(message)

    def handle_info(self, message: Any) -> None:
        return None

    def terminate(self, reason: Any) -> None:
        self.stage.events.append(["ends", self.config["id"], self.life, word(reason)])


class Stage:
    """Plays one scenario."""

    def __init__(self, scenario: dict[str, Any]) -> None:
        self.scenario = scenario
        self.dynamic = scenario["kind"] == "dynamic"
        self.events: list[list[Any]] = []
        self.lives: dict[str, int] = defaultdict(int)
        self.newest: dict[str, Ref] = {}
        self.known: dict[Ref, tuple[str, int]] = {}
        self.supervisor: Ref

    def spec(self, config: dict[str, Any]) -> ChildSpec:
        return ChildSpec(
            None if self.dynamic else config["id"],
            Child,
            (config, self),
            restart=RestartType(config["restart"]),
            shutdown_s=SHUTDOWN_S[config["shutdown"]],
            significant=config["significant"],
        )

    async def start(self) -> Ref | None:
        limits = {"max_restarts": self.scenario["max_restarts"], "max_seconds": 3600.0}
        if self.dynamic:
            return await DynamicSupervisor.start_link(max_children=self.scenario["max_children"], **limits)
        return await Supervisor.start_link(
            [self.spec(config) for config in self.scenario["children"]],
            strategy=Strategy(self.scenario["strategy"]),
            auto_shutdown=AutoShutdown(self.scenario["auto_shutdown"]),
            **limits,
        )

    async def children(self) -> Any:
        try:
            infos = await self.supervisor.call(WhichChildren())
        except ActorExit:
            return "down"
        if self.dynamic:
            return sorted([["?", "restarting"] if i.restarting else list(self.known[i.ref]) for i in infos])
        return [
            [i.id, "restarting" if i.restarting else "stopped" if i.ref is None else self.known[i.ref][1]]
            for i in infos
        ]

    async def settled(self) -> Any:
        """The children once all messages under way have been handled: virtual time passes only then."""
        await asyncio.sleep(0.001)
        return await self.children()

    async def step(self, kind: str, *args: Any) -> str:
        if kind == "shutdown":
            self.supervisor.exit(SHUTDOWN)
            await ended(self.supervisor)
            return "ok"
        if kind in ("crash", "stop", "kill") or (kind == "terminate_child" and self.dynamic):
            ref = self.newest.get(args[0])
            if ref is None or not ref.is_alive() or not self.supervisor.is_alive():
                return "skip"
            if kind == "terminate_child":
                return await self.ask(TerminateChild(ref))
            if kind == "kill":
                ref.exit(KILL)
            else:
                ref.cast("crash" if kind == "crash" else REASONS.get(args[1], args[1]))
            await ended(ref)
            return "ok"
        if kind == "start_child":
            return await self.ask(StartChild(self.spec(args[0])))
        message = {"terminate_child": TerminateChild, "restart_child": RestartChild, "delete_child": DeleteChild}[kind]
        return await self.ask(message(args[0]))

    async def ask(self, message: Any) -> str:
        try:
            await self.supervisor.call(message)
        except StartFailed:
            return "failed"
        except ActorExit:
            return "down"
        except HensloweError as error:
            return error.details.get("reason", error.code)
        return "ok"

    async def play(self) -> dict[str, Any]:
        try:
            supervisor = await self.start()
        except StartFailed as failed:
            return {"first": "start_error", "steps": [], "end": word(failed.reason), "events": self.events}
        assert supervisor is not None
        self.supervisor = supervisor
        first = await self.settled()
        steps = [[await self.step(*step), await self.settled()] for step in self.scenario["steps"]]
        end = "alive" if supervisor.is_alive() else word(supervisor.reason)
        events = list(self.events)
        supervisor.exit(KILL)
        return {"first": first, "steps": steps, "end": end, "events": events}


async def ended(ref: Ref) -> None:
    gone = asyncio.get_running_loop().create_future()
    ref.watch(lambda *_: gone.done() or gone.set_result(None))
    async with asyncio.timeout(STEP_S):
        await gone


def comparable(outcome: dict[str, Any], kind: str) -> dict[str, Any]:
    """A dynamic supervisor ends its children at the same time, so only each child's own order is a promise."""
    if kind == "static":
        return outcome
    by_child: dict[str, list[Any]] = defaultdict(list)
    for event in outcome["events"]:
        by_child[f"{event[1]}.{event[2]}"].append(event)
    return outcome | {"events": by_child}


def mismatches(kind: str, seed: int | None = None) -> list[Any]:
    async def main() -> list[Any]:
        wrong = []
        for recorded in load(kind):
            played = await Stage(recorded["scenario"]).play()
            if comparable(played, kind) != comparable(recorded["outcome"], kind):
                wrong.append((recorded["scenario"], recorded["outcome"], played))
        return wrong

    return run_virtually(main(), seed=seed)


@pytest.fixture(autouse=True)
def _quiet(caplog):
    logging.disable(logging.CRITICAL)
    yield
    logging.disable(logging.NOTSET)


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_a_thousand_recorded_scenarios_play_out_as_on_otp(kind):
    assert mismatches(kind)[:1] == []


@pytest.mark.parametrize("kind", ["static", "dynamic"])
def test_they_do_so_whatever_the_order_in_which_actors_run(kind):
    assert mismatches(kind, seed=20_26)[:1] == []
