"""A random walk over the kernel's API, held against a model of twenty lines."""

import asyncio
import logging
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, rule
from kernel_specimens import Boom, OnLoop

from henslowe.actors.kernel import (
    KILL,
    KILLED,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    ActorExit,
    Ref,
    Registry,
    Scheduler,
    Stop,
    statistics,
)
from henslowe.testing import VirtualTimeLoop

REASONS = st.sampled_from([NORMAL, SHUTDOWN, (SHUTDOWN, "detail"), "odd", KILL])
NAMES = st.sampled_from(["a", "b", "c"])


class Life:
    """What the model knows of one actor."""

    def __init__(self, trap: bool) -> None:
        self.trap = trap
        self.reason: Any = None
        self.dead = False
        self.links: set[Ref] = set()
        self.watched_by: list[Ref] = []
        self.names: set[str] = set()
        self.heard: list[Any] = []  # Exit and Down messages


class Kernel(RuleBasedStateMachine):
    refs = Bundle("refs")

    @initialize()
    def boot(self):
        logging.disable(logging.CRITICAL)
        self.loop = VirtualTimeLoop()
        self.registry = Registry()
        self.model: dict[Ref, Life] = {}
        self.run(self.install())

    async def install(self):
        Scheduler.install()

    def run(self, coroutine):
        async def settled():
            result = await coroutine
            await asyncio.sleep(0.001)  # virtual: passes when nobody has anything to do
            return result

        return self.loop.run_until_complete(settled())

    # -- the model -----------------------------------------------------------------------------------
    def dies(self, ref: Ref, reason: Any) -> None:
        life = self.model[ref]
        if life.dead:
            return
        life.dead, life.reason = True, reason
        life.names.clear()
        for other in life.links:
            self.model[other].links.discard(ref)
        for watcher in life.watched_by:
            if not self.model[watcher].dead:
                self.model[watcher].heard.append(("Down", reason))
        for other in list(life.links):
            self.signalled(other, reason, ref)

    def signalled(self, ref: Ref, reason: Any, sender: Ref) -> None:
        life = self.model[ref]
        if life.dead:
            return
        if life.trap:
            life.heard.append(("Exit", reason))
        elif reason != NORMAL or sender is ref:
            self.dies(ref, reason)

    # -- rules -----------------------------------------------------------------------------------------
    @rule(target=refs, trap=st.booleans())
    def start(self, trap):
        ref = self.run(OnLoop.start_link(trap))
        self.model[ref] = Life(trap)
        return ref

    @rule(ref=refs, name=NAMES)
    def register(self, ref, name):
        holders = [r for r, life in self.model.items() if name in life.names]
        try:
            self.registry.register(name, ref)
            outcome = "registered"
            self.model[ref].names.add(name)
        except ActorExit as refused:
            outcome = refused.reason
        if holders:
            assert outcome == ("already_started", holders[0])
        else:
            assert outcome == (NOPROC if self.model[ref].dead else "registered")

    @rule(a=refs, b=refs)
    def link(self, a, b):
        async def go():
            a.link(b)

        if a is b:
            return
        self.run(go())
        left, right = self.model[a], self.model[b]
        if not left.dead and not right.dead:
            left.links.add(b)
            right.links.add(a)
        else:
            dead, live = (b, a) if right.dead else (a, b)
            self.signalled(live, NOPROC, dead)

    @rule(a=refs, b=refs)
    def unlink(self, a, b):
        a.unlink(b)
        self.model[a].links.discard(b)
        self.model[b].links.discard(a)

    @rule(watcher=refs, watched=refs)
    def monitor(self, watcher, watched):
        if self.model[watcher].dead or watcher is watched:
            return
        self.run(self.cast(watcher, lambda actor: actor.monitor(watched) and None))
        if self.model[watched].dead:
            self.model[watcher].heard.append(("Down", NOPROC))
        else:
            self.model[watched].watched_by.append(watcher)

    async def cast(self, ref, message):
        ref.cast(message)

    @rule(ref=refs, sender=refs, reason=REASONS)
    def signal(self, ref, sender, reason):
        async def go():
            ref.exit(reason, sender)

        self.run(go())
        if reason == KILL:
            self.dies(ref, KILLED)
        else:
            self.signalled(ref, reason, sender)

    @rule(ref=refs)
    def crash(self, ref):
        error = Boom("walk")
        self.run(self.cast(ref, error))
        self.dies(ref, error)

    @rule(ref=refs, reason=st.sampled_from([NORMAL, (SHUTDOWN, 1), "odd"]))
    def stop(self, ref, reason):
        async def go():
            return await ref.call(lambda _: Stop(reason, "bye"))

        try:
            answer = self.run(go())
        except ActorExit as told:
            answer = told.reason
        assert answer == (NOPROC if self.model[ref].dead else "bye")
        self.dies(ref, reason)

    @rule(ref=consumes(refs))
    def forget(self, ref):
        """The walk does not use this one any more; it lives on."""

    # -- what must hold ----------------------------------------------------------------------------------
    @invariant()
    def agrees(self):
        for ref, life in getattr(self, "model", {}).items():
            assert ref.is_alive() is not life.dead
            if life.dead:
                assert ref.reason is life.reason or ref.reason == life.reason
                assert ref._actor is None
                assert not ref._links
                assert not ref._watchers
            else:
                assert (ref._links or set()) == life.links
                heard = [entry for entry in ref._actor.log if entry[0] in ("Exit", "Down")]
                assert sorted(map(str, heard)) == sorted(map(str, life.heard))
                assert not ref._q
        if hasattr(self, "registry"):
            held = {name: ref for ref, life in self.model.items() for name in life.names}
            assert self.registry._refs == held
            assert statistics().zombies == 0

    def teardown(self):
        if not hasattr(self, "loop"):
            return

        async def end():
            for ref in self.model:
                ref.exit(KILL)

        self.run(end())
        assert not any(ref.is_alive() for ref in self.model)
        self.loop.close()
        logging.disable(logging.NOTSET)


Kernel.TestCase.settings = settings(max_examples=200, stateful_step_count=25, deadline=None)
TestKernelMachine = Kernel.TestCase
