"""A pytest plugin: lets pykka's own tests run with our actors in the place of `ThreadingActor`.

The kind comes from the environment: `HENSLOWE_KIND=loop` or `thread`. Set are pykka's own rules where ours differ on
purpose: an exception in an `ask` leaves the actor alive, and actors are listed in pykka's registry.
"""

from __future__ import annotations

import asyncio
import os
import threading

import pykka

from henslowe.actors.kernel import LoopActor, Reply, Scheduler, ThreadActor


class PykkaRules:
    """Where OTP's rules and pykka's differ: pykka's."""

    crash_on_call_error = False
    in_pykkas_registry = True


class OnLoop(PykkaRules, LoopActor):
    """In the place of `ThreadingActor`, on a loop."""


class OnThread(PykkaRules, ThreadActor):
    """In the place of `ThreadingActor`, on a thread."""


def _run_a_loop() -> None:
    ready = threading.Event()

    async def forever() -> None:
        Scheduler.install()
        ready.set()
        await asyncio.Event().wait()

    threading.Thread(target=lambda: asyncio.run(forever()), daemon=True, name="loop").start()
    ready.wait(5)


# Before pykka's conftest imports the names.
if os.environ["HENSLOWE_KIND"] == "loop":
    _run_a_loop()
    pykka.ThreadingActor = OnLoop  # type: ignore[misc,assignment]
else:
    pykka.ThreadingActor = OnThread  # type: ignore[misc,assignment]
pykka.ThreadingFuture = Reply  # type: ignore[misc,assignment]
