"""The version machine's actor: asks the pure machine, commits what it says in one transaction, performs the effects.

One message at a time, and the mailbox waits for the commit: two commands never decide on the same rows. The effects of
a commit are rows of the outbox in that same commit; they are deleted once performed, and driven again after a crash, in
which case they may happen twice (they are idempotent) but never not at all.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, TypeAlias
from weakref import WeakSet

from henslowe.actors import names
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.kernel import Continue, Down, LoopActor, Ref, Reply, Timer
from henslowe.actors.kernel import names as registry
from henslowe.actors.launch import Wire
from henslowe.actors.messages import (
    Command,
    HooksAgreed,
    HooksRefused,
    InstanceBroken,
    InstanceDown,
    InstanceUp,
    LineCommand,
    NameVersion,
    Rehearse,
    Rehearsed,
    Resemblance,
    RoutesChanged,
    VersionBuilt,
)
from henslowe.actors.routes import WEIGHT_SCALE
from henslowe.actors.traffic import TrafficStats
from henslowe.actors.versions import line
from henslowe.actors.versions.births import unique_semver
from henslowe.actors.versions.change import Facts, Halts, Policy, in_order
from henslowe.actors.versions.driving import Driver
from henslowe.actors.versions.effects import ROUTES_TIMEOUT_S, Effects, everything_of, unwanted_of
from henslowe.actors.versions.gatekeeper import Ended, Gatekeeper
from henslowe.actors.versions.gates import (
    Gate,
    Gates,
    NoGates,
    Standing,
    gate_of,
    waiting_reply,
)
from henslowe.actors.versions.ledger import Ledger
from henslowe.actors.versions.machine import Boot, TimeUp, TryAgain, service_of, transition
from henslowe.actors.versions.pending import PendingRow
from henslowe.actors.versions.rebuild import rebuild_damaged
from henslowe.actors.versions.reports import next_time_s
from henslowe.actors.versions.rows import Rehearsal, ServiceRow
from henslowe.actors.versions.starting import LayOut
from henslowe.actors.versions.tries import Tries
from henslowe.actors.vocabulary import Status
from henslowe.config.settings import Settings
from henslowe.errors import Conflict, Corrupt, LimitReached, NotFound, StorageError
from henslowe.storage import Store

log = logging.getLogger("henslowe.versions")

RETRY_S: Final = 0.5
"""Until an effect, or a message that storage refused, is tried again."""
REHEARSAL_SPARE_S: Final = 80.0
"""Beyond its budget: a rehearsal looks into failures, which takes as long as starting both versions once more."""
TIME_LOOK_S: Final = 0.1
"""Until something is looked at again whose time should be up but is not, by the clock on the wall."""
GATE_LOOK_S: Final = 5.0
"""The same where hooks have not agreed yet: when they do, nobody waits for this."""

_booted: WeakSet[Store] = WeakSet()
"""Stores whose unclean stop was dealt with: a machine that restarts alone is no second boot of the node."""

Sweep: TypeAlias = Callable[[Collection[tuple[str, str]]], object]
"""Removes what is laid out of no version, given service and folder of all that are. Runs in: a thread."""


@dataclass(slots=True, frozen=True)
class Redrive:
    """Info to VERSIONS, from its own timer: perform what is left in the outbox."""


@dataclass(slots=True, frozen=True)
class EnsureAll:
    """Info to VERSIONS, from its own timer: the instance manager is new and has to be told everything."""


@dataclass(slots=True, frozen=True)
class ChoreBroken:
    """Info to VERSIONS, from its own worker: there is a mistake in what it does beside the mailbox."""

    mistake: BaseException


class VersionMachine(LoopActor):
    """Owner of the tables `SERVICES`, `VERSIONS`, `LINE`, `PENDING` and `OUTBOX`.

    Args:
        store: Tables, events and archive.
        settings: `workspace` and `delivery`.
        traffic: What the router publishes of the traffic; decides strategy `auto`.
        lay_out: Makes folders of versions again that were deleted; None for the bare builds.
        sweep: Removes folders of builds that are of no version, given service and folder of all that are; in a thread.
        gates: Who is asked before a version gets into traffic, or more of it; None for nobody.
        now_s: The clock, in Unix seconds.
    """

    def __init__(
        self,
        store: Store,
        settings: Settings,
        traffic: TrafficStats | None = None,
        *,
        lay_out: LayOut | None = None,
        sweep: Sweep | None = None,
        gates: Gates | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._store = store
        self._ledger = Ledger(store)
        self._services, self._versions = self._ledger.services, self._ledger.versions
        self._traffic = traffic or TrafficStats()
        self._policy = policy_of(settings)
        self._replay_s = settings.delivery.replay_s
        self._replay_short_s = settings.delivery.replay_immediate_s
        self._effects = Effects(
            store,
            Path(settings.workspace),
            drain_s=settings.delivery.drain_s,
            broken=self._cannot_start,
            released=self._not_ready,
            rehearse=self._rehearse,
            lay_out=lay_out,
        )
        self._driver = Driver(
            self._effects.perform, self._ledger.clear, again=self._redrive_later, broken=self._chore_broken
        )
        self._sweep = sweep
        self._gatekeeper = Gatekeeper(gates or NoGates(), self._ledger)
        self._stopped: set[ServiceName] = set()
        """Services whose last transition stopped at a gate."""
        self._now_s = now_s
        self._ready: dict[ServiceName, set[int]] = {}
        self._timers: dict[ServiceName, Timer] = {}
        self._tries = Tries()
        self._manager: Ref | None = None
        """The instance manager that was told everything."""

    def init(self) -> Continue:
        """Recovery comes after the start, so that whoever waits for this actor does not wait for instances."""
        return Continue(Redrive())

    async def handle_continue(self, _: Redrive) -> None:
        """Go on with the rows of the last life: transitions of the boot, leftovers, then everything as it should be."""
        rebuilt = await rebuild_damaged(self._store)
        if rebuilt:
            # The router derived its routes without them.
            await registry.via(names.ROUTER).call(RoutesChanged(tuple(sorted(rebuilt))), timeout_s=ROUTES_TIMEOUT_S)
        first = self._store not in _booted
        unclean = self._store.recovered and first
        _booted.add(self._store)
        for row in self._services.rows():
            try:
                await self._apply(Boot(row.service, unclean=unclean))
            except (StorageError, LimitReached) as error:
                # What it would have tidied stays as it was; crashing would take down what serves.
                log.warning("boot_not_stored service=%s reason=%s", row.service, error)
            self._arm(row.service)
        await self._driver.drive(in_order(self._ledger.outbox.rows()))
        await self._ensure_all(unwanted=not first)  # in a node that just began nothing runs yet
        for pending in self._ledger.pending.rows():
            await self.handle_cast(TimeUp(pending.service))
        if self._sweep is not None:
            # No pipeline runs yet: each starts after this actor, and ends with it.
            known = frozenset((str(row.service), row.folder) for row in self._versions.rows())
            await asyncio.to_thread(self._sweep, known)

    async def terminate(self, _reason: object) -> None:
        """What is left to do beside the mailbox is done, or is in the outbox for the next life."""
        await self._driver.finish()

    async def handle_call(self, message: Any, _sender: Reply) -> Any:
        """Commands of people and of the pipeline; the answer comes once the commit is durable."""
        if isinstance(message, NameVersion):
            name = message.version.service
            service = self._services.lookup(name, ServiceRow(service=name))
            rows = {row.number: row for row in self._versions.by("service", name)}
            return unique_semver(service, rows, message.version.number, message.semver, message.build)
        if isinstance(message, LineCommand):
            return await self._command_line(message)
        return await self._apply(message)

    async def handle_cast(self, message: Any) -> None:
        """What instances and the router report. Storage that refuses is tried again: a report must not be lost."""
        match message:
            case HooksRefused():
                self._gatekeeper.take(gate_of(message))
            case InstanceUp(version):
                self._ready.setdefault(version.service, set()).add(version.number)
                self._tries.forget(version)
            case InstanceDown(version) | InstanceBroken(version):
                if not isinstance(message, InstanceDown) or not message.left:
                    self._not_ready(version)
                if isinstance(message, InstanceBroken):
                    # The machine knows whether there is anything to try.
                    self.send_after(self._tries.next_s(version), TryAgain(version.service, version.number))
        try:
            await self._hear(message)
        except (StorageError, LimitReached) as error:
            log.warning("transition_not_stored message=%s reason=%s", type(message).__name__, error)
            self.send_after(RETRY_S, message)

    async def _hear(self, message: Any) -> None:
        """A report; what a person wanted comes before what a version does by itself."""
        if isinstance(message, HooksAgreed | InstanceUp | Rehearsed | TimeUp):
            await self._carry_out(service_of(message))
        if isinstance(message, HooksAgreed):
            await self._go_on(gate_of(message))
            return
        await self._apply(message)
        if isinstance(message, HooksRefused):
            row = self._ledger.pending.lookup(message.version.service)
            if row is not None and row.gate == gate_of(message) and message.round >= row.round:
                await self._end(row, Ended(Status.FAILED, message.reason))

    async def handle_info(self, message: Any) -> None:
        """Timers, and the end of the instance manager."""
        match message:
            case ChoreBroken(mistake):
                raise mistake
            case Redrive():
                await self._driver.drive_again(in_order(self._ledger.outbox.rows()))
            case Down():
                self._manager = None
                self._ready.clear()
                self.send_after(RETRY_S, EnsureAll())
            case EnsureAll():
                await self._ensure_all()
            case TimeUp(name):
                await self.handle_cast(message)
                # The timer and the wall do not run alike; what is not over yet is looked at again.
                self._arm(name)
            case _:
                await self.handle_cast(message)

    async def _ensure_all(self, *, unwanted: bool = True) -> None:
        """Tell an instance manager everything, as soon as there is one: who was to hear it before may have died of it.

        What is not wanted is told as well: an instance whose release died with a manager would run for ever.
        """
        if not self._watch_instances():
            self.send_after(RETRY_S, EnsureAll())
            return
        done = True
        for row in self._services.rows():
            versions = self._versions.by("service", row.service) if unwanted else ()
            done &= await self._driver.drive([*everything_of(row.service, row), *unwanted_of(row, versions)])
        if not done:  # these effects are in no outbox
            self.send_after(RETRY_S, EnsureAll())

    # -- one transition ----------------

    async def _apply(self, message: Any) -> Any:
        name = service_of(message)
        state = self._ledger.state_of(name)
        facts = Facts(
            now_s=self._now_s(),
            units=self._traffic.units_of(name),
            ready=frozenset(self._ready.get(name, ())),
            policy=self._policy,
            line=self._halts.line,
            captured=state.service is not None
            and state.service.staged in self._ready.get(name, ())
            and self._captured(name),
            active_contract=self._ledger.active_contract(state) if isinstance(message, VersionBuilt) else None,
        )
        result = transition(state, message, facts)
        if not result.events and not result.effects:
            return result.reply
        if isinstance(message, Command) and message.skip_hooks:
            skipped = self._gatekeeper.skipped(message, state, result)
            result = replace(result, events=(*skipped, *result.events))
        elif (closed := self._gatekeeper.stop(message, state, result)) is not None:
            self._stopped.add(name)
            if not isinstance(message, Command):
                return None
            await self._ledger.keep_pending(self._gatekeeper.pending(closed, message, self._now_s()))
            return waiting_reply(closed, message, state)
        await self._ledger.commit(name, message, result)
        self._stopped.discard(name)
        self._arm(name)
        await self._driver.drive(result.effects)
        return result.reply

    # -- what waited at a gate ----------------

    async def _go_on(self, gate: Gate) -> None:
        """Does what was reported and waited for a gate, by the rows of now: it may not be possible any more."""
        for message in self._gatekeeper.take(gate):
            kind = type(message).__name__
            ready = self._ready.get(gate.version.service, ())
            if isinstance(message, InstanceUp) and message.version.number not in ready:
                continue
            try:
                await self._apply(message)
            except (Conflict, NotFound) as error:
                log.warning("not_done_after_hooks message=%s reason=%s", kind, error)
            except (StorageError, LimitReached) as error:
                log.warning("transition_not_stored message=%s reason=%s", kind, error)
                self._gatekeeper.keep(gate, message)
                self.send_after(RETRY_S, HooksAgreed(gate.version, gate.epoch, gate.point))

    async def _carry_out(self, name: ServiceName) -> None:
        """Does what a person was told would be done, if hooks agreed and the instance is up; ends it if it cannot be.

        Raises:
            StorageError, LimitReached: It waits on.
        """
        row = self._ledger.pending.lookup(name)
        if row is None:
            return
        standing = self._gatekeeper.standing(row, self._ledger.state_of(name))
        if isinstance(standing, Ended):
            await self._end(row, standing)
        elif standing is Standing.OPEN and row.version in self._ready.get(name, ()):
            try:
                reply = await self._apply(row.command)
            except (Conflict, NotFound) as error:
                await self._end(row, Ended(Status.FAILED, str(error)))
                return
            if self._ledger.pending.lookup(name) == row:
                await self._end(row, Ended(Status.CANCELLED, reply["message"]))

    async def _end(self, row: PendingRow, ended: Ended) -> None:
        """Ends a command undone. The version goes its own way from here on."""
        await self._ledger.end_pending(row, ended.status, ended.why)
        self.ref.cast(TimeUp(row.service))

    # -- effects ----------------

    def _captured(self, name: ServiceName) -> bool:
        try:
            return bool(self._store.captures.read(service=name, limit=1))
        except Corrupt:
            return False

    def _rehearse(self, version: VersionKey, rehearsal: Rehearsal) -> None:
        """Asks for the replay of captured calls; a replay that is lost keeps no version waiting for ever."""
        lost = Rehearsed(version, rehearsal.against, Resemblance.UNKNOWN, "nothing was replayed: no answer came")
        if registry.whereis(names.REHEARSAL) is None:
            self.ref.cast(lost)
            return
        budget_s = self._replay_short_s if rehearsal.short else self._replay_s
        old = self._versions.lookup((version.service, rehearsal.against))
        on_pipes = old is not None and old.launch is not None and old.launch.wire is Wire.STDIO
        registry.via(names.REHEARSAL).cast(Rehearse(version, rehearsal.against, budget_s, rehearsal.short, on_pipes))
        self.send_after(budget_s + REHEARSAL_SPARE_S, lost)

    def _redrive_later(self) -> None:
        self.send_after(RETRY_S, Redrive())

    def _chore_broken(self, mistake: BaseException) -> None:
        self.ref.send(ChoreBroken(mistake))

    def _not_ready(self, version: VersionKey) -> None:
        self._ready.get(version.service, set()).discard(version.number)

    def _cannot_start(self, message: InstanceBroken) -> None:
        self.ref.cast(message)

    # -- time and neighbours ----------------

    @property
    def _halts(self) -> Halts:
        return line.halts_of(self._ledger.line, self._policy.windows, self._now_s())

    async def _command_line(self, message: LineCommand) -> dict[str, Any]:
        """What is said of all services: one commit, and then each of them sees whether it may go on."""
        result = line.changed(self._halts.line, message, self._now_s())
        if result.event is not None:
            await self._ledger.commit_line(result)
            for row in self._services.rows():
                await self.handle_cast(TimeUp(row.service))
                self._arm(row.service)
        return {"action": message.action.value, "changed": result.event is not None, "message": result.words}

    def _arm(self, name: ServiceName) -> None:
        armed = self._timers.pop(name, None)
        if armed is not None:
            armed.cancel()
        row = self._services.lookup(name)
        if row is None:
            return
        staged = self._versions.lookup((name, row.staged))
        next_s = next_time_s(row, staged, self._halts)
        if next_s:
            least_s = GATE_LOOK_S if name in self._stopped else TIME_LOOK_S
            left_s = max(least_s, next_s - self._now_s())
            self._timers[name] = self.send_after(left_s, TimeUp(name))

    def _watch_instances(self) -> bool:
        manager = registry.whereis(names.INSTANCES)
        if manager is not None and manager is not self._manager:
            self.monitor(manager)
        self._manager = manager
        return manager is not None


def policy_of(settings: Settings) -> Policy:
    """The settings as the machine wants them: shares in ten-thousandths."""
    delivery = settings.delivery
    return Policy(
        probation_s=delivery.probation_s,
        holdback=round(delivery.holdback_percent / 100 * WEIGHT_SCALE),
        canary_weight=round(delivery.canary_percent / 100 * WEIGHT_SCALE),
        units_min=delivery.auto_units_min,
        keep_versions=delivery.keep_versions,
        windows=settings.freeze.windows,
    )
