"""Routes and trials from rows: pure, so that what is routed and what is stored cannot disagree.

Not here: what a trial finds out (`henslowe.actors.router.verdict`).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Protocol

from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.router.trial import Trial
from henslowe.actors.routes import WEIGHT_SCALE, Route
from henslowe.actors.variants import rule_of
from henslowe.config.exposure import Exposure


class RoutedService(Protocol):
    """What routing reads of a service's row (`henslowe.actors.versions.ServiceRow` is one)."""

    @property
    def service(self) -> ServiceName:
        """Its name."""
        ...

    @property
    def epoch(self) -> int:
        """Counts the changes of who serves."""
        ...

    @property
    def active(self) -> int:
        """The version that serves, 0 for none."""
        ...

    @property
    def previous(self) -> int:
        """The warm version before it."""
        ...

    @property
    def canary(self) -> int:
        """The version that is tried beside it."""
        ...

    @property
    def canary_weight(self) -> int:
        """Its share, in ten-thousandths."""
        ...

    @property
    def weights(self) -> tuple[tuple[int, int], ...]:
        """Epochs from which on it had which share, since it is tried."""
        ...

    @property
    def step(self) -> int:
        """Which of its steps it is at, from 1 on."""
        ...

    @property
    def steps(self) -> int:
        """How many there are."""
        ...

    @property
    def step_calls(self) -> int:
        """Its calls before the step may end."""
        ...

    @property
    def salt(self) -> str:
        """Of the rollout."""
        ...

    @property
    def balance(self) -> float:
        """Probability of such a salt."""
        ...

    @property
    def exposure(self) -> Exposure:
        """How the version that last became canary or active is shown to traffic."""
        ...

    @property
    def probation_until_s(self) -> float:
        """Unix time, 0 when the active version is permanent."""
        ...

    @property
    def holdback(self) -> int:
        """Share of the previous version during probation, in ten-thousandths."""
        ...


def route_of(row: RoutedService) -> Route | None:
    """The service's route, or None where nothing serves."""
    if not row.active:
        return None
    rule = rule_of(row.exposure, rollout=bool(row.canary))
    route = Route(row.service, VersionKey(row.service, row.active), salt=row.salt, epoch=row.epoch, rule=rule)
    if row.canary:
        mirror = row.exposure.mirror
        share = round(mirror.percent * WEIGHT_SCALE / 100) if mirror is not None else 0
        return replace(_with(route, row.canary, row.canary_weight, holdback=False), mirror=share)
    if row.probation_until_s and row.holdback and row.previous:
        return _with(route, row.previous, row.holdback, holdback=True)
    return route


def _with(route: Route, other: int, weight: int, *, holdback: bool) -> Route:
    return Route(
        route.service,
        route.stable,
        VersionKey(route.service, other),
        weight,
        route.salt,
        route.epoch,
        holdback,
        route.rule,
    )


def routes_of(rows: Iterable[RoutedService]) -> dict[ServiceName, Route]:
    """The whole route table."""
    return {row.service: route for row in rows if (route := route_of(row)) is not None}


def trial_of(row: RoutedService) -> Trial | None:
    """What has to be judged now: a canary, else an active version on probation, else nothing."""
    route = route_of(row)
    if route is None:
        return None
    share = route.canary_weight / WEIGHT_SCALE
    if route.canary is not None and not route.holdback:
        return Trial(
            row.service,
            row.epoch,
            route.canary,
            route.stable,
            share,
            balance=row.balance,
            ramp=tuple((epoch, weight / WEIGHT_SCALE) for epoch, weight in row.weights),
            step=row.step,
            steps=row.steps,
            step_calls=row.step_calls,
            by_person=row.exposure.by_person,
        )
    if not row.probation_until_s:
        return None
    if route.canary is not None:
        return Trial(
            row.service,
            row.epoch,
            route.stable,
            route.canary,
            1.0 - share,
            probation=True,
            holdback=True,
            balance=row.balance,
        )
    return Trial(row.service, row.epoch, route.stable, None, 1.0, probation=True)
