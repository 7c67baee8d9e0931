"""The canary router: derives and publishes the routes, and turns finished calls into evidence and verdicts.

It is asked nothing per call. The gateway reads the route table and drops a record of each finished call into
`Observations`; the router takes them, at once when one failed, else ten times a second while a trial is under way, else
once a second. What it concludes it casts to the version machine, again and again until the epoch has moved on: so a
verdict survives a restart on either side.

Not here: the reasoning (`henslowe.actors.router.verdict`), the rows (`henslowe.actors.versions`).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

from henslowe.actors import names
from henslowe.actors.health import Breach, WindowFigures, breach, has_limits
from henslowe.actors.ids import ServiceName
from henslowe.actors.journal import say
from henslowe.actors.kernel import LoopActor, Reply, Timer
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import Decision, InstanceUp, Mirrored, RoutesChanged, Verdict
from henslowe.actors.router.copies import Mirrorings
from henslowe.actors.router.counters import ServiceCounter
from henslowe.actors.router.derive import RoutedService, routes_of, trial_of
from henslowe.actors.router.keeping import Keeping
from henslowe.actors.router.pacing import Pacing, due
from henslowe.actors.router.reasons import log_tail
from henslowe.actors.router.trial import Rules, Trial
from henslowe.actors.router.verdict import Evidence, Finding
from henslowe.actors.router.watched import Watched, finding_is_well
from henslowe.actors.routes import FAILURES, CallRecord, Observations, RouteTable
from henslowe.actors.traffic import TrafficStats
from henslowe.actors.upkeep import Upkeep
from henslowe.actors.vocabulary import EventType, Status
from henslowe.config.settings import DeliverySettings, Settings
from henslowe.storage import Store, Table

TRIAL_TICK_S: Final = 0.1
IDLE_TICK_S: Final = 1.0
PUBLISH_S: Final = 1.0
"""How often at most statistics are published and health is said, per service."""
FAILED_CALLS_SAID_PER_S: Final = 5
"""CALL_FAILED events per service and second; the rest is counted in the next one."""
EXAMPLE_BYTES_MAX: Final = 1_024


@dataclass(slots=True, frozen=True)
class Tick:
    """Info to ROUTER, from its own timer."""


@dataclass(slots=True, frozen=True)
class Wake:
    """Info to ROUTER: a call failed."""


@dataclass(slots=True, frozen=True)
class Pile:
    """Info to ROUTER: many calls wait to be counted."""


class CanaryRouter(LoopActor):
    """Owner of the route table, the traffic statistics and the tables in which both are kept (`Keeping`).

    Args:
        store: Has the service rows and the evidence.
        settings: Section `delivery`.
        routes: Where routes are published.
        observations: Where the gateway leaves finished calls.
        services: The table of the version machine's service rows.
        traffic: Where statistics are published.
        upkeep: The limits of each version; None for none.
        now_s: The clock, in Unix seconds.
    """

    def __init__(
        self,
        store: Store,
        settings: DeliverySettings,
        routes: RouteTable,
        observations: Observations,
        *,
        services: Table[Any],
        traffic: TrafficStats,
        upkeep: Upkeep | None = None,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        super().__init__()
        self._store = store
        self._kept = Keeping(store)
        self._services = services
        self._settings = settings
        self._rules = rules_of(settings)
        self._routes = routes
        self._observations = observations
        self._traffic = traffic
        self._upkeep = upkeep or Upkeep(Settings())
        self._now_s = now_s
        self._watched: dict[ServiceName, Watched] = {}
        self._pacing = Pacing(self._kept, self._watched, busy_units=settings.auto_units_min)
        self._routed: tuple[RoutedService, ...] | None = None
        """The rows that the routes were last derived from."""
        self._woken = False
        self._published_s = 0.0
        self._timer: Timer | None = None

    def init(self) -> None:
        """Routes first: the gateway may be waiting. Then the traffic of before, by which a deploy chooses its way."""
        self._publish_routes()
        self._recall_traffic()
        self._observations.wake_with(self._wake)
        self._arm()

    def terminate(self, _reason: object) -> None:
        """Leaves the routes as they are: traffic goes on while the router restarts."""
        self._observations.wake_with(None)
        self._take()
        self._pacing.finish(self._now_s())

    def handle_call(self, message: RoutesChanged, _sender: Reply) -> None:
        """The rows changed; the answer comes once the new routes are published."""
        self.handle_cast(message)

    def handle_cast(self, message: Any) -> None:
        """The rows changed, or an instance is up. Other reports of instances say nothing that the rows will not."""
        match message:
            case RoutesChanged():
                self._take()  # what was called by the routes of before is evidence about them
                self._publish_routes()
                self._arm()
            case Mirrored():
                self._take_copy(message)
            case InstanceUp(version):
                self._of(version.service).seen_up.add(version.number)

    def handle_info(self, message: Tick | Wake | Pile) -> None:
        """A moment to think; not for a pile of calls, which only are to be taken in."""
        self._take()
        if isinstance(message, Pile):
            return
        self._woken = False
        now_s = self._now_s()
        for service, watched in self._watched.items():
            self._judge(service, watched, now_s)
        if due(now_s, self._published_s, PUBLISH_S):
            self._published_s = now_s
            self._say_health(now_s)
            self._publish_traffic(now_s)
        self._pacing.turn(now_s)
        if isinstance(message, Tick):
            self._arm()

    # -- routes ----------------

    def _publish_routes(self) -> None:
        rows: tuple[RoutedService, ...] = self._services.rows()
        if rows == self._routed:  # the rows of a start are told service by service
            return
        self._routed = rows
        before, after = self._routes.current, routes_of(rows)
        self._routes.publish(after)
        for service, route in after.items():
            if before.get(service) != route:
                canary = route.canary.number if route.canary is not None else 0
                say(
                    EventType.ROUTE_CHANGED,
                    Status.SUCCESS,
                    key=route.stable,
                    canary=canary,
                    canary_percent=route.canary_weight / 100,
                    epoch=route.epoch,
                )
        for row in rows:
            watched = self._of(row.service)
            if watched.row is not row:  # most are what they were
                watched.row = row
                self._set_trial(row)

    def _set_trial(self, row: RoutedService) -> None:
        """Begins, goes on with, or ends the trial of a service, as its row says."""
        trial, watched = trial_of(row), self._of(row.service)
        if trial == (watched.evidence.trial if watched.evidence is not None else None):
            return
        if trial is not None and watched.evidence is not None and trial.follows(watched.evidence.trial):
            watched.evidence.move_on(trial)
            watched.finding, watched.unsaved = None, True
            return
        watched.evidence = watched.finding = watched.copies = None
        if watched.saving is not None:
            watched.saving.close()
        watched.failing.clear()
        watched.seen_up &= {row.active, row.canary, row.previous}
        if trial is None:
            self._kept.forget_evidence(row.service)
            return
        watched.evidence = self._kept.evidence(trial, self._rules)
        watched.copies = self._kept.copies(trial, Mirrorings(self._clean))
        if watched.evidence is None:
            old = trial.old or trial.new._replace(number=row.previous)
            watched.evidence = Evidence(trial, self._rules, watched.counter.past(old, self._rules.slow_factor))

    def _of(self, service: ServiceName) -> Watched:
        watched = self._watched.get(service)
        if watched is None:
            watched = self._watched[service] = Watched(ServiceCounter(service, self._settings.auto_window_s))
            self._kept.recall_traffic(service, watched.counter, watched.windows)
            watched.counter.forget_old(self._now_s())
        return watched

    # -- calls ----------------

    def _wake(self, failed: bool) -> None:
        if not failed:
            self.ref.send(Pile())
        elif not self._woken:
            self._woken = True
            self.ref.send(Wake())

    def _take(self) -> None:
        for record in self._observations.take():
            watched = self._of(record.version.service)
            watched.counter.add(record)
            watched.traffic_unsaved = True
            if record.outcome in FAILURES:
                self._say_failed(watched, record)
            blamed = watched.may_blame(record)
            if blamed:
                self._count(watched, record)
            if watched.evidence is not None and watched.evidence.trial.share_at(record.epoch) is not None and blamed:
                watched.evidence.update(record)
                watched.fresh = watched.unsaved = True

    def _count(self, watched: Watched, record: CallRecord) -> None:
        watched.windows.add(record, span_s=self._upkeep.health(record.version).window_s)
        if record.outcome in FAILURES and watched.evidence is not None and record.version == watched.evidence.trial.new:
            watched.failing.add(record)

    def _take_copy(self, copy: Mirrored) -> None:
        watched = self._of(copy.version.service)
        trial = watched.evidence.trial if watched.evidence is not None else None
        if trial is None or trial.new != copy.version or trial.share_at(copy.epoch) is None:
            return
        if watched.copies is None:
            watched.copies = Mirrorings(self._clean)
        watched.copies.add(copy.asked, copy.dropped)
        watched.fresh = watched.unsaved = True

    def _clean(self, value: Any) -> Any:
        return self._store.captures.redactor.redact(value, bytes_max=EXAMPLE_BYTES_MAX).value

    def _words(self, error: str) -> str:
        """A server's words about a failure without the secrets that may be in them: the log keeps them for long."""
        return self._store.captures.redactor.redact_text(error[:500])

    def _judge(self, service: ServiceName, watched: Watched, now_s: float) -> None:
        evidence = watched.evidence
        if evidence is None:
            return
        found = evidence.find()
        if watched.copies is not None:
            found = watched.copies.beside(found, alpha=self._rules.alpha)
        finding = watched.finding = self._limited(watched, evidence.trial, found, now_s)
        if finding.decision is Decision.HOLD or not due(now_s, watched.sent_s, PUBLISH_S):
            return
        watched.sent_s = now_s
        trial = evidence.trial
        if watched.said != (trial.epoch, finding.decision):
            watched.said = (trial.epoch, finding.decision)
            status = Status.FAILED if finding.decision is Decision.ROLL_BACK else Status.SUCCESS
            numbers = {"decision": finding.decision.value, "why": finding.why, **finding.numbers}
            if finding.decision is Decision.ROLL_BACK:
                failing = [{**call, "error": self._words(call["error"])} for call in watched.failing.told()]
                numbers |= {"failing_calls": failing, "log_tail": log_tail(self._store, trial.new)}
            say(EventType.CANARY_VERDICT, status, key=trial.new, epoch=trial.epoch, **numbers)
        registry.via(names.VERSIONS).cast(
            Verdict(service, trial.new, trial.epoch, finding.decision, finding.why, finding.numbers)
        )

    def _limited(self, watched: Watched, trial: Trial, finding: Finding, now_s: float) -> Finding:
        """The finding, or that a limit of the version's own was passed: whichever speaks against it first."""
        limits = self._upkeep.health(trial.new)
        if finding.decision is Decision.ROLL_BACK or not has_limits(limits):
            return finding
        seen = watched.windows.of_version(trial.new, now_s)
        passed = breach(limits, seen)
        if passed is None:
            return finding
        return Finding(Decision.ROLL_BACK, passed.why, {**finding.numbers, **_limit_numbers(passed, seen)})

    def _say_failed(self, watched: Watched, record: CallRecord) -> None:
        if watched.failures_said >= FAILED_CALLS_SAID_PER_S:
            watched.failures_silent += 1
            return
        watched.failures_said += 1
        say(
            EventType.CALL_FAILED,
            Status.FAILED,
            key=record.version,
            tool=record.tool,
            outcome=record.outcome.value,
            arm=record.arm.value,
            latency_ms=round(record.latency_s * 1000, 1),
            error=self._words(record.error),
            by=record.principal,
            unsaid=watched.failures_silent,
        )
        watched.failures_silent = 0

    # -- once a second ----------------

    def _say_health(self, now_s: float) -> None:
        for service, watched in self._watched.items():
            watched.failures_said = 0
            self._say_limits(service, watched, now_s)
            evidence, finding = watched.evidence, watched.finding
            if evidence is None or finding is None:
                continue
            evidence.close_units(before_s=now_s - self._settings.sticky_epoch_s)
            if not watched.fresh:
                continue
            watched.fresh = False
            status = Status.HEALTHY if finding_is_well(finding) else Status.DEGRADED
            say(EventType.CANARY_HEALTH, status, key=evidence.trial.new, why=finding.why, **finding.numbers)

    def _say_limits(self, service: ServiceName, watched: Watched, now_s: float) -> None:
        """A version that serves for good has nothing to fail over to: its limits are an alarm, said when it changes."""
        route = self._routes.current.get(service)
        serving = {route.stable} if route is not None and watched.evidence is None else set()
        for version in serving | watched.passed.keys():
            limits = self._upkeep.health(version)
            seen = watched.windows.of_version(version, now_s)
            now = breach(limits, seen) if version in serving and has_limits(limits) else None
            before = watched.passed.pop(version, None)
            if now is not None:
                watched.passed[version] = now
            if now is not None and (before is None or before.limit != now.limit):
                numbers = _limit_numbers(now, seen)
                say(EventType.VERSION_HEALTH, Status.UNHEALTHY, key=version, why=now.why, **numbers)
            elif now is None and before is not None:
                say(EventType.VERSION_HEALTH, Status.HEALTHY, key=version, why=f"within health.{before.limit} again")

    def _publish_traffic(self, now_s: float) -> None:
        published = {}
        for service, watched in self._watched.items():
            watched.counter.forget_old(now_s)
            published[service] = watched.counter.frozen(
                watched.status, self._now_s(), windows=watched.windows, passed=watched.passed
            )
        self._traffic.publish(published)

    def _recall_traffic(self) -> None:
        for service in self._kept.services:
            if not self._of(service).counter.units:
                self._kept.forget_traffic(service)
        self._publish_traffic(self._now_s())

    # -- time ----------------

    def _arm(self) -> None:
        """One timer: often while something is judged, or is being written, else seldom."""
        if self._timer is not None:
            self._timer.cancel()
        judging = any(watched.evidence is not None for watched in self._watched.values())
        often = judging or self._pacing.under_way
        self._timer = self.send_after(TRIAL_TICK_S if often else IDLE_TICK_S, Tick())


def rules_of(settings: DeliverySettings) -> Rules:
    """The settings as the verdict wants them: fractions."""
    return Rules(
        alpha=settings.alpha,
        beta=settings.beta,
        margin=settings.margin_points / 100,
        units_min=settings.units_min,
        breaker_failures=settings.breaker_failures,
        slow_factor=settings.slow_factor,
        few_units=settings.auto_units_min,
    )


def _limit_numbers(passed: Breach, seen: WindowFigures) -> dict[str, Any]:
    """What an event says of a limit that was passed."""
    return {
        "limit": passed.limit,
        "allowed": passed.allowed,
        "seen": passed.seen,
        "window_s": seen.window_s,
        "window_calls": seen.calls,
        "window_failures": seen.failures,
        "p50_ms": seen.p50_ms,
        "p95_ms": seen.p95_ms,
        "p99_ms": seen.p99_ms,
    }
