"""The keeper of hooks: writes down who is to be asked or told before anybody is, and does not rest until it is done.

    versions --AskHooks--> keeper --commit--> run one after another --HooksAgreed | HooksRefused--> versions
    lifecycle events --durable cursor--> keeper --commit--> run, each by itself, again where it failed

**At least once, over kill -9.** A question is a row before it is asked, and a row that has no answer is asked again
after a restart; news comes from the event log by a durable cursor, and is a row before the cursor moves on. What a hook
may see twice has the same id both times. An answer counts once: by the epoch that it was asked in.

Those that are asked are run one after another and the first refusal ends it; those that are told do not wait for each
other. Both have slots of their own, so that slow news holds up no question.

Runs in: the loop. Owner of the table `HOOKS`.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Coroutine, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from henslowe.actors import failpoints, names
from henslowe.actors.hooks.plan import (
    Configured,
    facts_of,
    news,
    of_gate,
    points_of,
    questions,
    standing_of,
    superfluous,
)
from henslowe.actors.hooks.rows import HOOKS, HookRow, HookState
from henslowe.actors.hooks.running import HookRunner, Outcome, Surroundings
from henslowe.actors.journal import say
from henslowe.actors.kernel import Continue, LoopActor
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import AskHooks, Confirm, Delivery, HooksAgreed, HooksRefused, Subscribe
from henslowe.actors.pipeline.workdir import sweep
from henslowe.actors.versions import SERVICES, VERSIONS, VersionRow
from henslowe.actors.versions.gates import Standing
from henslowe.actors.vocabulary import EventType, Status
from henslowe.errors import LimitReached, StorageError
from henslowe.storage import CursorRow, Event, Store

log = logging.getLogger("henslowe.hooks")

CURSOR: Final = "hooks"
RETRY_S: Final = 1.0
"""Until a commit that storage refused is tried again."""
BACKOFF_FIRST_S: Final = 1.0
BACKOFF_MAX_S: Final = 60.0
KEEP: Final = 200
"""Rows of a service that are over and kept, for people."""
REASON_CHARS_MAX: Final = 1_000


@dataclass(slots=True)
class HookBoard:
    """How hooks went since the start, for metrics. Published by the keeper, outlives it."""

    ended: Counter[tuple[str, str]] = field(default_factory=Counter)
    """By moment and outcome (`done`, `failed`)."""


@dataclass(slots=True, frozen=True)
class _Ended:
    """Info to HOOKS, from a task of its own: it has ended."""

    task: asyncio.Task[None]


class HookKeeper(LoopActor):
    """Answers `AskHooks`, and hears the lifecycle.

    Args:
        store: Tables and events.
        configured: The node's own hooks and interceptors.
        around: What hooks run in.
        board: Where it counts.
        parallel: Most hooks that run at once, asked and told ones apart.
    """

    def __init__(
        self, store: Store, configured: Configured, around: Surroundings, board: HookBoard, *, parallel: int = 4
    ) -> None:
        super().__init__()
        self._store = store
        self._hooks = store.table(HOOKS)
        self._services = store.table(SERVICES)
        self._versions = store.table(VERSIONS)
        self._configured = configured
        self._around = around
        self._board = board
        self._asking = asyncio.Semaphore(parallel)
        self._telling = asyncio.Semaphore(parallel)
        self._tasks: set[asyncio.Task[None]] = set()
        self._runner: HookRunner | None = None

    # -- life ----------------

    def init(self) -> Continue:
        """The rest follows, so that whoever starts after it need not wait."""
        self._runner = HookRunner(self._around, self._version_of, self.ref)
        return Continue(None)

    async def handle_continue(self, _: None) -> None:
        """Go on with what the last life left, then with what happened since."""
        events = self._store.events
        if events.cursors.latest(CURSOR) is None:
            # What happened before there was a keeper is no news.
            await events.cursors.insert(CursorRow(name=CURSOR, seq=events.last_seq()))
        await asyncio.to_thread(sweep, self._around.runs)
        waiting = [row for row in self._hooks.rows() if row.state is HookState.WAITING]
        for question in {(row.service, row.version, row.epoch, row.point) for row in waiting if row.gate}:
            service, version, epoch, point = question
            self._begin(self._ask(of_gate(self._hooks.by("service", service), version, epoch, point)))
        for row in waiting:
            if not row.gate:
                self._begin(self._tell(row))
        await registry.via(names.BUS).call(Subscribe(self.ref, streams=("lifecycle",), cursor=CURSOR))

    async def terminate(self, _reason: Any) -> None:
        """Ends what runs; it is run again in the next life."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # -- messages ----------------

    async def handle_cast(self, message: AskHooks | Delivery) -> None:
        """A question of the version machine, or news."""
        match message:
            case AskHooks():
                await self._asked(message)
            case Delivery():
                await self._heard(message)

    def handle_info(self, message: Any) -> None:
        """A task ended, or storage is tried again."""
        if isinstance(message, _Ended):
            self._tasks.discard(message.task)
            if not message.task.cancelled():
                message.task.result()  # what no hook can be blamed for ends this actor
        else:
            self.ref.cast(message)

    async def _asked(self, ask: AskHooks) -> None:
        key, point = ask.version, ask.point
        row = self._versions.lookup((key.service, key.number))
        if row is None:
            return
        before = of_gate(self._hooks.by("service", key.service), key.number, ask.epoch, point)
        standing = standing_of(before)
        if standing is Standing.OPEN:
            registry.via(names.VERSIONS).cast(HooksAgreed(key, ask.epoch, point))
        if standing is Standing.CLOSED and not ask.again:
            last = next(row for row in before if row.state is HookState.FAILED and row.round == before[-1].round)
            registry.via(names.VERSIONS).cast(HooksRefused(key, ask.epoch, point, reason_of(last), last.round))
        if standing is not None and not (standing is Standing.CLOSED and ask.again):
            return
        round_ = 1 + max((each.round for each in before), default=0)
        planned = self._configured.at((point,), row)
        rows = questions(ask, planned, facts_of(row, self._active_of(row)), round_, self._around.now_s())
        try:
            await self._hooks.insert(*rows)
        except (StorageError, LimitReached) as error:
            log.warning("hooks_not_asked service=%s reason=%s", key.service, error)
            self.send_after(RETRY_S, ask)
            return
        failpoints.reach("hooks.written")
        self._begin(self._ask(rows))

    async def _heard(self, delivery: Delivery) -> None:
        rows = [row for event in delivery.events for row in self._news_of(event)]
        new = [row for row in rows if not self._hooks.member(row.id)]
        try:
            if new:
                await self._hooks.insert(*new)
        except (StorageError, LimitReached) as error:
            log.warning("hooks_not_told reason=%s", error)
            self.send_after(RETRY_S, delivery)
            return
        failpoints.reach("hooks.written")
        for row in new:
            self._begin(self._tell(row))
        registry.via(names.BUS).cast(Confirm(delivery.subscription, delivery.events[-1].seq))

    def _news_of(self, event: Event) -> list[HookRow]:
        points = [point for point in points_of(event) if point is not None]
        if not points:
            return []
        version = self._version_in(event)
        if version is None:
            return []
        planned = [each for each in self._configured.at(points, version) if each.point in points]
        return news(event, planned, facts_of(version, self._active_of(version), event), self._around.now_s())

    def _version_in(self, event: Event) -> VersionRow | None:
        """The version of an event, as it was then, with hooks: one whose manifest was never read has its elders'."""
        told = event.data.get("row")
        row = VersionRow.model_validate(told) if told else self._versions.lookup((event.service, event.version))
        service = self._services.lookup(event.service)
        if row is not None and row.stage == "manifest" and not row.hooks and service is not None:
            elder = self._versions.lookup((event.service, service.active))
            return row.model_copy(update={"hooks": elder.hooks}) if elder is not None else row
        return row

    # -- running ----------------

    def _begin(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(lambda done: self.ref.send(_Ended(done)))

    async def _ask(self, rows: Sequence[HookRow]) -> None:
        """Runs the hooks of one question, one after another, and answers it."""
        key, epoch, point = rows[0].key, rows[0].epoch, rows[0].point
        for row in rows:
            if row.state is HookState.WAITING:
                service = self._services.lookup(key.service)
                if service is None or service.epoch != epoch:
                    # The rollout went another way meanwhile: whatever they say, nobody wants to know.
                    await self._conclude(row, Outcome(ok=False, reason="the rollout went on without it"), quiet=True)
                    continue
                row, outcome = await self._run(row, self._asking)  # noqa: PLW2901 - as it is now
                row = await self._conclude(row, outcome)  # noqa: PLW2901
            if row.state is HookState.FAILED and row.round == max(each.round for each in rows):
                for other in rows:
                    if other.place > row.place and other.state is HookState.WAITING:
                        await self._conclude(other, Outcome(ok=False, reason=f"{row.name} refused"), quiet=True)
                registry.via(names.VERSIONS).cast(HooksRefused(key, epoch, point, reason_of(row), row.round))
                return
        if standing_of(of_gate(self._hooks.by("service", key.service), key.number, epoch, point)) is Standing.OPEN:
            registry.via(names.VERSIONS).cast(HooksAgreed(key, epoch, point))

    async def _tell(self, row: HookRow) -> None:
        """Runs one hook that is told, again where it failed for now."""
        tries = row.spec.attempts if row.spec is not None else 1
        while True:
            row, outcome = await self._run(row, self._telling)
            if outcome.ok or not outcome.again or row.attempts >= tries:
                break
            await self._put(row.model_copy(update={"reason": outcome.reason[:REASON_CHARS_MAX]}))
            await asyncio.sleep(min(BACKOFF_MAX_S, BACKOFF_FIRST_S * 2.0 ** (row.attempts - 1)))
        await self._conclude(row, outcome)

    async def _run(self, row: HookRow, slots: asyncio.Semaphore) -> tuple[HookRow, Outcome]:
        assert self._runner is not None
        async with slots:
            say(EventType.HOOK_START, Status.PENDING, key=row.key, hook=row.name, on=row.point.value, id=row.id)
            began_s = time.monotonic()
            outcome = await self._runner.run(row)
        if not self.ref.is_alive():
            # Killed meanwhile, and its commands with it: what they said is no answer, the next life asks again.
            raise asyncio.CancelledError
        failpoints.reach("hooks.answered")
        took_ms = round((time.monotonic() - began_s) * 1000)
        return row.model_copy(update={"attempts": row.attempts + 1, "took_ms": took_ms}), outcome

    async def _conclude(self, row: HookRow, outcome: Outcome, *, quiet: bool = False) -> HookRow:
        state = HookState.DONE if outcome.ok else HookState.FAILED
        ended = {"state": state, "ended_s": self._around.now_s(), "output": outcome.output}
        row = row.model_copy(update={**ended, "reason": outcome.reason[:REASON_CHARS_MAX]})
        await self._put(row)
        failpoints.reach("hooks.concluded")
        if not quiet:
            self._board.ended[row.point.value, state.value] += 1
            say(
                EventType.HOOK_COMPLETE,
                Status.SUCCESS if outcome.ok else Status.FAILED,
                key=row.key,
                hook=row.name,
                on=row.point.value,
                id=row.id,
                duration_ms=row.took_ms,
                attempts=row.attempts,
                **({} if outcome.ok else {"message": row.reason, "excerpt": row.output}),
            )
        await self._forget(row.service)
        return row

    async def _put(self, row: HookRow) -> None:
        """Writes a row, however long storage refuses."""
        while True:
            try:
                await self._hooks.insert(row)
            except (StorageError, LimitReached) as error:
                log.warning("hook_not_written id=%s reason=%s", row.id, error)
                await asyncio.sleep(RETRY_S)
            else:
                return

    async def _forget(self, service: str) -> None:
        rows = self._hooks.by("service", service)
        if len(rows) < 2 * KEEP:
            return
        txn = self._store.transaction()
        for row in superfluous(rows, KEEP):
            txn.delete(self._hooks, row.id)
        try:
            await txn.commit()
        except (StorageError, LimitReached) as error:
            log.warning("hooks_not_forgotten service=%s reason=%s", service, error)

    # -- rows ----------------

    def _version_of(self, row: HookRow) -> VersionRow | None:
        return self._versions.lookup((row.service, row.version))

    def _active_of(self, row: VersionRow) -> VersionRow | None:
        service = self._services.lookup(row.service)
        return self._versions.lookup((row.service, service.active)) if service is not None else None


def reason_of(row: HookRow) -> str:
    """Why a question was answered with no, for people."""
    asked = "interceptor" if row.spec is None else "hook"
    head = f"{asked} {row.name} ({row.point.value}) refused: {row.reason}"
    return f"{head}\n{row.output}" if row.output else head
