"""Plays recorded scenarios of supervisors on ours: children on loops, threads and processes, mixed as asked.

With loop children only, time is virtual and the order of actors may be shuffled. Threads and processes need real
time: there a step is over when the children have stood still for a few looks, as in the recording.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import threading
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

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
    GenActor,
    LoopActor,
    ProcessActor,
    Ref,
    RestartChild,
    RestartType,
    StartChild,
    StartFailed,
    Stop,
    TerminateChild,
    ThreadActor,
    WhichChildren,
)
from henslowe.errors import HensloweError
from henslowe.supervisors import AutoShutdown, DynamicSupervisor, Strategy, Supervisor

SHUTDOWN_S = {5000: 5.0, "brutal_kill": BRUTAL_KILL, "infinity": INFINITY}
REASONS = {"shutdown_detail": (SHUTDOWN, "detail")}
STEP_S = 60.0
LOOKS = 3
"""Equal looks in a row after which real actors are taken to stand still."""


def word(reason: Any) -> str:
    """A reason in the recording's words."""
    if isinstance(reason, str) and reason in (NORMAL, SHUTDOWN, "killed"):
        return reason
    return "shutdown_detail" if isinstance(reason, tuple) and reason[0] == SHUTDOWN else "error"


class Diary:
    """What happened, in order; written by threads, too."""

    def __init__(self) -> None:
        self._events: list[list[Any]] = []
        self._lives: dict[str, int] = defaultdict(int)
        self._lock = threading.Lock()

    def next_life(self, id_: str) -> int:
        """The number of the life that begins."""
        with self._lock:
            self._lives[id_] += 1
            return self._lives[id_]

    def add(self, event: list[Any]) -> None:
        """Writes down one event."""
        self._events.append(event)

    def events(self) -> list[list[Any]]:
        """All so far."""
        return list(self._events)


class SharedDiary(Diary):
    """The same in a file, for children in processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.touch()

    def next_life(self, id_: str) -> int:
        """The number of the life that begins."""
        return 1 + sum(event[1] == id_ and event[0] != "ends" for event in self.events())

    def add(self, event: list[Any]) -> None:
        """Writes down one event."""
        descriptor = os.open(self.path, os.O_WRONLY | os.O_APPEND)
        os.write(descriptor, json.dumps(event).encode() + b"\n")
        os.close(descriptor)

    def events(self) -> list[list[Any]]:
        """All so far."""
        return [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines()]


class Child:
    """Fails, ignores and ends as its scenario says, and writes it down."""

    trap_exit = True

    def __init__(self, config: dict[str, Any], diary: Diary) -> None:
        super().__init__()
        self.config, self.diary = config, diary

    def init(self) -> Any:
        """Begins a life, or does not."""
        id_ = self.config["id"]
        self.life = self.diary.next_life(id_)
        if self.life in self.config["fails"]:
            self.diary.add(["init_fails", id_, self.life])
            return Stop("init_failed")
        if self.life in self.config["ignores"]:
            self.diary.add(["ignores", id_, self.life])
            return IGNORE
        self.diary.add(["starts", id_, self.life])
        return None

    def handle_call(self, _message: Any, _sender: Any) -> Any:
        """Says who it is."""
        return self.config["id"], self.life

    def handle_cast(self, message: Any) -> Any:
        """Ends as told."""
        if message == "crash":
            raise RuntimeError("crash")
        return Stop(message)

    def handle_info(self, message: Any) -> None:
        """Takes no notice."""

    def terminate(self, reason: Any) -> None:
        """Writes down how it ends."""
        self.diary.add(["ends", self.config["id"], self.life, word(reason)])


class LoopChild(Child, LoopActor):
    """On the loop."""


class ThreadChild(Child, ThreadActor):
    """On a thread."""


class ProcessChild(Child, ProcessActor):
    """In a process."""


Kinds = Sequence[type[GenActor]]


class Stage:
    """Plays one scenario.

    Args:
        scenario: As generated.
        kinds: What children are made of; each child's kind is drawn by its id.
        diary: Where they write.
        virtual: Whether the clock is virtual, so that time passes only when nobody has anything to do.
    """

    def __init__(self, scenario: dict[str, Any], kinds: Kinds, diary: Diary, *, virtual: bool) -> None:
        self.scenario, self.kinds, self.diary, self.virtual = scenario, kinds, diary, virtual
        self.dynamic = scenario["kind"] == "dynamic"
        self.known: dict[Ref, tuple[str, int]] = {}
        self.supervisor: Ref

    def spec(self, config: dict[str, Any]) -> ChildSpec:
        """A child's spec from its recorded description."""
        pick = random.Random(f"{len(self.scenario['steps'])}{self.scenario['max_restarts']}{config}")
        return ChildSpec(
            None if self.dynamic else config["id"],
            pick.choice(list(self.kinds)),
            (config, self.diary),
            restart=RestartType(config["restart"]),
            shutdown_s=SHUTDOWN_S[config["shutdown"]],
            significant=config["significant"],
        )

    async def start(self) -> Ref | None:
        """Starts the supervisor."""
        limits = {"max_restarts": self.scenario["max_restarts"], "max_seconds": 3600.0}
        if self.dynamic:
            return await DynamicSupervisor.start_link(max_children=self.scenario["max_children"], **limits)
        return await Supervisor.start_link(
            [self.spec(config) for config in self.scenario["children"]],
            strategy=Strategy(self.scenario["strategy"]),
            auto_shutdown=AutoShutdown(self.scenario["auto_shutdown"]),
            **limits,
        )

    # -- looking ---------------------------------------------------------------------------------------
    async def children(self) -> Any:
        """The children in the recording's form."""
        try:
            infos = await self.supervisor.call(WhichChildren(), STEP_S)
            return await self._dynamic(infos) if self.dynamic else [await self._static(info) for info in infos]
        except ActorExit:
            return "down" if not self.supervisor.is_alive() else "dying"

    async def _static(self, info: Any) -> list[Any]:
        state = "restarting" if info.restarting else "stopped" if info.ref is None else (await self.who(info.ref))[1]
        return [info.id, state]

    async def _dynamic(self, infos: Any) -> list[Any]:
        return sorted([["?", "restarting"] if i.restarting else list(await self.who(i.ref)) for i in infos])

    async def who(self, ref: Ref) -> tuple[str, int]:
        """Which life of which child it is."""
        if ref not in self.known:
            self.known[ref] = tuple(await ref.call("who", STEP_S))
        if not ref.is_alive():
            raise ActorExit(ref.reason)
        return self.known[ref]

    async def settled(self) -> Any:
        """The children once all messages under way have been handled."""
        if self.virtual:
            await asyncio.sleep(0.001)
            return await self.children()
        last, same = None, 0
        async with asyncio.timeout(STEP_S):
            while same < LOOKS:
                now = await self.children()
                moving = now == "dying" or (now != "down" and any(entry[1] == "restarting" for entry in now))
                same = same + 1 if now == last and not moving else 0
                last = now
                if now == "down":
                    break
                await asyncio.sleep(0.0005)
        return last

    def newest(self, id_: str) -> Ref | None:
        """The child that started last under an id, if it lives."""
        lives = [event[2] for event in self.diary.events() if event[0] == "starts" and event[1] == id_]
        if not lives or not self.supervisor.is_alive():
            return None
        return next((ref for ref, who in self.known.items() if who == (id_, lives[-1]) and ref.is_alive()), None)

    # -- steps -----------------------------------------------------------------------------------------
    async def step(self, kind: str, *args: Any) -> str:
        """Does one thing to the tree."""
        if kind == "shutdown":
            self.supervisor.exit(SHUTDOWN)
            await ended(self.supervisor)
            return "ok"
        if kind in ("crash", "stop", "kill") or (kind == "terminate_child" and self.dynamic):
            ref = self.newest(args[0])
            if ref is None:
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
        """The supervisor's answer in the recording's words."""
        try:
            await self.supervisor.call(message, STEP_S)
        except StartFailed:
            return "failed"
        except ActorExit:
            return "down"
        except HensloweError as error:
            return str(error.details.get("reason", error.code))
        return "ok"

    async def play(self) -> dict[str, Any]:
        """Plays it; the outcome in the recording's form."""
        try:
            supervisor = await self.start()
        except StartFailed as failed:
            return {"first": "start_error", "steps": [], "end": word(failed.reason), "events": self.diary.events()}
        assert supervisor is not None
        self.supervisor = supervisor
        first = await self.settled()
        steps = [[await self.step(*step), await self.settled()] for step in self.scenario["steps"]]
        end = "alive" if supervisor.is_alive() else word(supervisor.reason)
        events = self.diary.events()
        supervisor.exit(KILL)
        return {"first": first, "steps": steps, "end": end, "events": events}


async def ended(ref: Ref) -> None:
    """Waits for a death."""
    loop = asyncio.get_running_loop()
    gone = loop.create_future()
    ref.watch(lambda *_: loop.call_soon_threadsafe(lambda: gone.done() or gone.set_result(None)))
    async with asyncio.timeout(STEP_S):
        await gone


async def play(scenario: dict[str, Any], kinds: Kinds = (LoopChild,), *, virtual: bool = True) -> dict[str, Any]:
    """Plays one scenario and gives its outcome."""
    if ProcessChild not in kinds:
        return await Stage(scenario, kinds, Diary(), virtual=virtual).play()
    with TemporaryDirectory(prefix="henslowe-oracle-") as folder:
        return await Stage(scenario, kinds, SharedDiary(Path(folder) / "diary"), virtual=False).play()


def comparable(outcome: dict[str, Any], kind: str) -> dict[str, Any]:
    """A dynamic supervisor ends its children at the same time, so only each child's own order is a promise."""
    if kind == "static":
        return outcome
    by_child: dict[str, list[Any]] = defaultdict(list)
    for event in outcome["events"]:
        by_child[f"{event[1]}.{event[2]}"].append(event)
    return outcome | {"events": dict(by_child)}
