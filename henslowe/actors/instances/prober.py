"""The prober: asks idle instances whether they are there, and has those started anew that do not answer.

A server whose process lives and whose pipes are open may still be stuck. Nobody notices while nobody calls, and then
the first callers pay for it. An instance with calls in flight is left alone, since it may be busy for good reason,
unless it has answered nothing for as long as any call may take.
"""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import Final

from henslowe.actors.endpoints import Probed
from henslowe.actors.ids import InstanceId
from henslowe.actors.instances.crew import InstanceBoard
from henslowe.actors.instances.instance import Stuck, instance_name
from henslowe.actors.kernel import LoopActor
from henslowe.actors.kernel import names as registry
from henslowe.config.settings import InstanceSettings
from henslowe.errors import HensloweError
from henslowe.words import counted

log = logging.getLogger(__name__)

LOOKS: Final = 4
"""Looks at all instances in the time after which an idle one is asked."""


@dataclass(slots=True, frozen=True)
class Tick:
    """Info to PROBER, from its own timer: look at all instances."""


@dataclass(slots=True)
class _Probing:
    failures: int = 0
    task: asyncio.Task[None] | None = None


class Prober(LoopActor):
    """Looks after the instances that are up, those that stand by among them.

    Args:
        board: The crews.
        settings: `probe_s`, `probe_timeout_s` and `probe_failures`.
        busy_s: How long an instance with calls in flight may be silent.
    """

    def __init__(self, board: InstanceBoard, settings: InstanceSettings, busy_s: float) -> None:
        super().__init__()
        self._board = board
        self._settings = settings
        self._busy_s = busy_s
        self._probing: dict[InstanceId, _Probing] = {}

    def init(self) -> None:
        """Begin, unless nothing is to be probed."""
        if self._settings.probe_s:
            self.send_after(self._settings.probe_s / LOOKS, Tick())

    def handle_info(self, message: Tick) -> None:
        """One look at all instances."""
        up = {
            member.instance: (endpoint, instance_name(crew.version, member.slot))
            for crew, member, endpoint in self._board.able()
        }
        for instance in [instance for instance in self._probing if instance not in up]:
            self._end(self._probing.pop(instance))
        now_s = asyncio.get_running_loop().time()
        for instance, (endpoint, actor) in up.items():
            probing = self._probing.setdefault(instance, _Probing())
            silent_s = now_s - endpoint.answered_s
            if silent_s < self._settings.probe_s:
                probing.failures = 0
            elif probing.task is None and (not endpoint.in_flight or silent_s >= self._busy_s):
                probing.task = asyncio.ensure_future(self._probe(endpoint, probing, actor))
        self.send_after(self._settings.probe_s / LOOKS, message)

    def terminate(self, _reason: object) -> None:
        """Give up the probes under way."""
        for probing in self._probing.values():
            self._end(probing)

    async def _probe(self, endpoint: Probed, probing: _Probing, actor: str) -> None:
        timeout_s = self._settings.probe_timeout_s
        try:
            await endpoint.probe(timeout_s)
            probing.failures = 0
        except (HensloweError, TimeoutError) as failure:
            probing.failures += 1
            why = str(failure) or f"no answer within {timeout_s:g} s"
            log.info("probe_failed", extra={"instance": endpoint.instance, "failures": probing.failures, "cause": why})
            if probing.failures >= self._settings.probe_failures:
                reason = f"it is stuck: {counted(probing.failures, 'probe')} failed, the last with: {why}"
                registry.via(actor).cast(Stuck(endpoint.instance, reason))
        finally:
            probing.task = None

    @staticmethod
    def _end(probing: _Probing) -> None:
        if probing.task is not None:
            probing.task.cancel()
