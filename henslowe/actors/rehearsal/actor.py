"""The rehearsal's actor: one run per service at a time, bounded in time, answered in any case.

A run that is asked for again goes on; one of another version replaces it. It keeps nothing: the version machine asks
again after a restart of either.
"""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Final

from henslowe.actors import names
from henslowe.actors.endpoints import Contract, Endpoint, EndpointDirectory, EndpointState, JsonObject, SoleClient
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.kernel import ActorExit, CallTimeout, LoopActor
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import ClosePrivate, OpenPrivate, Rehearse, Rehearsed, Resemblance
from henslowe.actors.pairing import Asked, Ledger
from henslowe.actors.rehearsal.report import figures, resemblance, words
from henslowe.actors.rehearsal.running import Copies, Find, ask_all, finder
from henslowe.actors.rehearsal.selecting import Sample, Selection, Skipped, select
from henslowe.config.settings import DeliverySettings
from henslowe.errors import Corrupt, HensloweError
from henslowe.storage.capture import Capture, Captures

log = logging.getLogger("henslowe.rehearsal")

PAGE: Final = 100
LOOKED_AT_MAX: Final = 2_000
"""Captures looked at, the newest first; many of them ask the same."""
SHORT_CALLS: Final = 60
"""Calls of a short rehearsal: if none of so many fails, a version that fails one call in twenty is unlikely (5 %)."""
READING_S: Final = 0.25
"""Longest time spent on reading them, or the budget if that is less."""
COPY_S: Final = 15.0
"""Longest wait for a fresh copy of either version."""
COPY_LATE_S: Final = 600.0
"""A copy that comes later than that is not known of any more: no server takes longer to start."""
DOUBT_S: Final = 20.0
"""Longest time for failures to be looked into once copies are there."""
DOUBT_ROUNDS: Final = 10
"""How often a call that failed is asked again at most; certain failures are certain after eight."""
FLAKY_MIN: Final = 3
"""Failures that no missing state explains, from which a version that fails now and then is looked for."""
STATEFUL_MAX: Final = 1_000
DOUBTS_MAX: Final = 20
"""Failing calls that are asked again."""
NO_DRAIN_S: Final = 0.0


@dataclass(slots=True, frozen=True)
class _Result:
    first: Ledger
    doubts: Ledger | None
    skipped: Skipped
    fresh: bool = True
    """Whether doubts were about copies that remember nothing."""


class Rehearsal(LoopActor):
    """Takes `Rehearse`, casts `Rehearsed` to VERSIONS.

    Args:
        captures: Where calls were recorded.
        directory: The endpoints that are up.
        settings: Section `delivery`.
        rng: Draws the order in which versions are asked.
    """

    def __init__(
        self,
        captures: Captures,
        directory: EndpointDirectory,
        settings: DeliverySettings,
        rng: random.Random | None = None,
    ) -> None:
        super().__init__()
        self._captures = captures
        self._directory = directory
        self._settings = settings
        self._rng = rng or random.Random()  # noqa: S311 - no secret
        self._stateful: dict[ServiceName, dict[bytes, None]] = {}
        """Calls that need what a process remembers, by service; in no table: they are found again."""
        self._runs: dict[ServiceName, tuple[Rehearse, asyncio.Task[None]]] = {}

    def handle_cast(self, message: Any) -> None:
        """Take `Rehearse`."""
        assert isinstance(message, Rehearse)
        service = message.version.service
        running = self._runs.get(service)
        if running is not None and not running[1].done():
            if (running[0].version, running[0].against) == (message.version, message.against):
                return
            running[1].cancel()
        task = asyncio.ensure_future(self._run(message))
        task.add_done_callback(lambda done: self._ended(message, done))
        self._runs[service] = message, task

    async def terminate(self, _reason: Any) -> None:
        """Ends what is under way."""
        tasks = [task for _, task in self._runs.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def _ended(self, order: Rehearse, done: asyncio.Task[None]) -> None:
        """A run that failed for a reason of its own keeps no version waiting."""
        if done.cancelled() or (error := done.exception()) is None:
            return
        log.error("rehearsal_failed", exc_info=error, extra={"version": str(order.version)})
        registry.via(names.VERSIONS).cast(
            Rehearsed(order.version, order.against, Resemblance.UNKNOWN, "the replay failed; the node's log says why")
        )

    async def _run(self, order: Rehearse) -> None:
        began_s, needed = time.monotonic(), 1.0 / self._settings.alpha
        try:
            result = await self._rehearse(order, began_s + order.budget_s)
        except (HensloweError, ActorExit, CallTimeout, OSError) as error:
            log.warning("not_rehearsed version=%s reason=%s", order.version, error)
            rehearsed = Rehearsed(order.version, order.against, Resemblance.UNKNOWN, f"cannot replay: {error}")
        else:
            first, doubts, skipped = result.first, result.doubts, result.skipped
            found = resemblance(first, doubts, needed=needed)
            rehearsed = Rehearsed(
                order.version,
                order.against,
                found,
                words(first, doubts, skipped, found, against=order.against, fresh=result.fresh),
                figures(first, doubts, skipped, needed=needed, took_s=time.monotonic() - began_s),
            )
        registry.via(names.VERSIONS).cast(rehearsed)

    async def _rehearse(self, order: Rehearse, until_s: float) -> _Result:
        old_key = order.version._replace(number=order.against)
        new, old = finder(self._directory, order.version), finder(self._directory, old_key)
        first = Ledger(self._clean)
        selection = await self._selection(order, new, old)
        if not selection.samples:
            return _Result(first, None, selection.skipped)
        failing: list[Asked] = []

        def heard(asked: Asked) -> bool:
            first.add(asked)
            if asked.new.failed and not any(each.failed for each in asked.others):
                failing.append(asked)
            return len(failing) < DOUBTS_MAX

        await ask_all(selection.samples, Copies(new, (old, old)), heard, until_s=until_s, rng=self._rng)
        if not failing:
            return _Result(first, None, selection.skipped)
        doubts, fresh = await self._doubt(order, selection.samples, failing)
        return _Result(first, doubts if doubts.calls else None, selection.skipped, fresh)

    async def _doubt(self, order: Rehearse, all_samples: Sequence[Sample], failing: list[Asked]) -> tuple[Ledger, bool]:
        """Asks the failing calls again, of fresh copies of both versions, until it is certain or the time is up.

        A process that has run for a while has a state that a new one lacks, through no fault of the new version. What a
        fresh copy of the active version fails, too, is not asked again, now or later. Where no fresh copy can be had,
        only those that broke the server are asked.

        Returns:
            What was found, and whether the copy of the active version was fresh.
        """
        needed = 1.0 / self._settings.alpha
        old_key = order.version._replace(number=order.against)
        by_id = {sample.id: sample for sample in all_samples}
        async with _fresh(old_key, order.version) as (old, new):
            until_s = time.monotonic() + DOUBT_S
            fresh = old is not None and order.on_pipes
            ledger = Ledger(self._clean) if fresh else Ledger(self._clean, blames=lambda answer: answer.broke)
            copies = Copies(new or finder(self._directory, order.version), (old or finder(self._directory, old_key),))
            still: list[Sample] = []
            shared = 0

            def heard(asked: Asked) -> bool:
                nonlocal shared
                ledger.add(asked)
                sample = by_id[asked.id]
                if asked.others[0].failed and fresh:
                    shared += 1
                    self._needs_state(order.version.service, sample)
                elif asked.new.failed:
                    still.append(sample)
                return ledger.evidence.evidence < needed

            samples = [by_id[asked.id] for asked in failing if fresh or asked.new.broke]
            for _ in range(DOUBT_ROUNDS):
                still.clear()
                await ask_all(samples, copies, heard, until_s=until_s, rng=self._rng)
                samples = list(still)
                if not samples or ledger.evidence.evidence >= needed:
                    break
            if fresh and ledger.evidence.evidence < needed and len(failing) - shared >= FLAKY_MIN:
                # Some fail now and then: the more calls, the better it shows.
                await ask_all(all_samples, copies, heard, until_s=until_s, rng=self._rng)
        return ledger, fresh

    def _needs_state(self, service: ServiceName, sample: Sample) -> None:
        """Remembers a call that no fresh process can answer, so that the next edit does not wait for it."""
        known = self._stateful.setdefault(service, {})
        known[sample.key] = None
        while len(known) > STATEFUL_MAX:
            known.pop(next(iter(known)))

    async def _selection(self, order: Rehearse, new: Find, old: Find) -> Selection:
        offered = [endpoint.contract if (endpoint := find()) is not None else Contract() for find in (old, new)]
        return await asyncio.to_thread(self._select, order, *offered)

    def _select(self, order: Rehearse, old: Contract, new: Contract) -> Selection:
        settings = self._settings
        return select(
            self._newest(order.version.service, min(READING_S, order.budget_s)),
            old,
            new,
            calls_max=min(settings.replay_calls_max, SHORT_CALLS) if order.short else settings.replay_calls_max,
            bytes_max=settings.replay_bytes_max,
            stateful=frozenset(self._stateful.get(order.version.service, ())),
        )

    def _newest(self, service: ServiceName, limit_s: float) -> Iterator[Capture]:
        """Captures of a service, the newest first. Runs in: a thread."""
        deadline_s = time.monotonic() + limit_s
        before: dict[str, int] = {}
        for _ in range(LOOKED_AT_MAX // PAGE):
            try:
                page = self._captures.read(service=service, limit=PAGE, **before)
            except Corrupt as error:
                log.warning("captures_not_read service=%s reason=%s", service, error)
                return
            yield from page
            if len(page) < PAGE or time.monotonic() > deadline_s:
                return
            before = {"before_seq": page[-1].seq}

    def _clean(self, value: Any) -> Any:
        return self._captures.redactor.redact(value, bytes_max=1_024).value


@asynccontextmanager
async def _fresh(*versions: VersionKey) -> AsyncIterator[list[Find | None]]:
    """Copies of versions for as long as the context lasts, None in the place of one that cannot be had.

    Of a server on pipes it is a process of its own; one that listens is joined in another session, and shows its state.
    """
    opening = [asyncio.ensure_future(_open(version)) for version in versions]
    try:
        await asyncio.wait(opening, timeout=COPY_S)
        yield [_only(task.result()) if task.done() else None for task in opening]
    finally:
        for task in opening:
            task.add_done_callback(_close)  # at once, or when it is there at last


async def _open(version: VersionKey) -> Endpoint | None:
    try:
        order = OpenPrivate(version, SoleClient(capabilities={}, ask=_refuse))
        endpoint: Endpoint = await registry.via(names.INSTANCES).call(order, COPY_LATE_S)
    except (HensloweError, ActorExit, CallTimeout) as error:
        log.info("no_fresh_copy version=%s reason=%s", version, error)
        return None
    return endpoint


def _close(opened: asyncio.Task[Endpoint | None]) -> None:
    endpoint = None if opened.cancelled() or opened.exception() is not None else opened.result()
    if endpoint is not None:
        registry.via(names.INSTANCES).cast(ClosePrivate(endpoint.instance, NO_DRAIN_S))


def _only(endpoint: Endpoint | None) -> Find | None:
    if endpoint is None:
        return None
    return lambda: endpoint if endpoint.state is EndpointState.READY else None


async def _refuse(_method: str, _params: JsonObject, _request_id: str | int) -> JsonObject:
    """A rehearsal cannot be asked anything."""
    return {"error": {"code": -32601, "message": "nobody is here to be asked"}}
