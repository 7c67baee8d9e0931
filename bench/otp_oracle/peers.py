"""Plays recorded scenarios of peers on ours: actors that link, monitor, signal and register, of any kind."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Sequence
from typing import Any

from henslowe.actors.kernel import (
    KILL,
    ActorExit,
    Down,
    DuplicateRegistry,
    Exit,
    GenActor,
    LoopActor,
    Ref,
    Registry,
    Stop,
    ThreadActor,
)

LOOKS = 3
WORDS = ("normal", "shutdown", "killed", "noproc", "odd")


def word(reason: Any) -> str:
    """A reason in the recording's words."""
    return reason if isinstance(reason, str) and reason in WORDS else "error"


class Peer:
    """Does what it is told, and keeps what it hears."""

    def __init__(self, trap: bool) -> None:
        super().__init__()
        self.trap_exit = trap
        self.heard: list[tuple[str, Ref, Any]] = []

    def handle_call(self, do: Callable[[Any], Any], _sender: Any) -> Any:
        """Runs something inside."""
        return do(self)

    def handle_cast(self, do: Callable[[Any], Any]) -> Any:
        """The same without an answer."""
        return do(self)

    def handle_info(self, message: Any) -> None:
        """Keeps exits and monitors' messages."""
        if isinstance(message, Exit):
            self.heard.append(("exit", message.ref, message.reason))
        elif isinstance(message, Down):
            self.heard.append(("down", message.ref, message.reason))


class LoopPeer(Peer, LoopActor):
    """On the loop."""


class ThreadPeer(Peer, ThreadActor):
    """On a thread."""


def _crash(_: Any) -> None:
    raise RuntimeError("crash")


def comparable(steps: list[Any]) -> list[Any]:
    """Without the answer of an actor that ended itself meanwhile: OTP cuts the callback off, ours lets it finish."""

    def ended(step: list[Any]) -> bool:
        return any(actor[1] == "dead" for actor in step[1][0]) and step[0] in ("ok", "ended")

    return [["ended", step[1]] if ended(step) else step for step in steps]


class Stage:
    """Plays one scenario."""

    def __init__(self, scenario: dict[str, Any], kinds: Sequence[type[GenActor]], *, virtual: bool) -> None:
        self.scenario, self.kinds, self.virtual = scenario, kinds, virtual
        self.unique, self.groups = Registry(), DuplicateRegistry()
        self.peers: dict[str, Ref] = {}

    async def play(self) -> list[Any]:
        """Plays it; the outcome in the recording's form."""
        pick = random.Random(str(self.scenario))
        for name, trap in sorted(self.scenario["peers"].items()):
            ref = await pick.choice(list(self.kinds)).start_link(trap)
            assert ref is not None
            self.peers[name] = ref
        steps = [[await self.step(*step), await self.settled()] for step in self.scenario["steps"]]
        for ref in self.peers.values():
            ref.exit(KILL)
        return steps

    async def inside(self, name: str, do: Callable[[Any], Any]) -> str:
        """Runs `do` in the actor, if it lives."""
        ref = self.peers[name]
        if not ref.is_alive():
            return "skip"
        try:
            return str(await ref.call(do) or "ok")
        except ActorExit:
            return "ended"

    async def step(self, kind: str, name: str, *args: Any) -> str:
        """One thing that an actor does."""
        peer = self.peers[name]
        if kind in ("crash", "stop"):
            if not peer.is_alive():
                return "skip"
            peer.cast(_crash if kind == "crash" else lambda _: Stop(args[0]))
            return "ok"
        steps: dict[str, Callable[[Any], Any]] = {
            "link": lambda actor: actor.link(self.peers[args[0]]),
            "unlink": lambda actor: actor.unlink(self.peers[args[0]]),
            "monitor": lambda actor: actor.monitor(self.peers[args[0]]) and None,
            "exit": lambda actor: self.peers[args[0]].exit(args[1], actor.ref),
            "register": lambda actor: self._register(args[0], actor.ref),
            "unregister": lambda actor: self.unique.unregister(args[0], actor.ref),
            "join": lambda actor: self.groups.register(args[0], actor.ref, args[1]),
            "leave": lambda actor: self.groups.unregister(args[0], actor.ref),
        }
        return await self.inside(name, steps[kind])

    def _register(self, key: str, ref: Ref) -> str:
        try:
            self.unique.register(key, ref)
        except ActorExit:
            return "taken"
        return "ok"

    # -- looking ---------------------------------------------------------------------------------------
    async def settled(self) -> Any:
        """The world once nothing moves."""
        if self.virtual:
            await asyncio.sleep(0.001)
            return await self.snapshot()
        last, same = None, 0
        while same < LOOKS:
            now = await self.snapshot()
            same = same + 1 if now == last else 0
            last = now
            await asyncio.sleep(0.0005)
        return last

    async def snapshot(self) -> Any:
        """Actors, names and groups in the recording's form."""
        named = {ref: name for name, ref in self.peers.items()}
        actors = [await self._actor(name, ref, named) for name, ref in sorted(self.peers.items())]
        holders = [self.unique.whereis(key) for key in ("k1", "k2")]
        groups = [sorted([named[ref], value] for ref, value in self.groups.lookup(key)) for key in ("k1", "k2")]
        return [actors, [[named[ref]] if ref is not None else [] for ref in holders], groups]

    async def _actor(self, name: str, ref: Ref, named: dict[Ref, str]) -> list[Any]:
        try:
            heard = await ref.call(lambda actor: list(actor.heard))
        except ActorExit:
            return [name, "dead", word(ref.reason)]
        told = sorted([kind, named[sender], word(reason)] for kind, sender, reason in heard)
        return [name, "alive", told, sorted(named[other] for other in ref._links or ())]


async def play(
    scenario: dict[str, Any], kinds: Sequence[type[GenActor]] = (LoopPeer,), *, virtual: bool = True
) -> list[Any]:
    """Plays one scenario and gives its outcome."""
    return await Stage(scenario, kinds, virtual=virtual).play()
