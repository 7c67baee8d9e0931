"""How a version comes to its traffic: `[[steps]]` and `[gates]` of `service.toml`, and the plan that follows from them.

    [[steps]]
    weight = 5                # percent of the units of traffic (sessions, clients)
    min_calls = 50            # calls of the canary before the step may end

    [[steps]]
    weight = 25
    hold = 600                # and ten minutes, "forever" for until somebody says `henslowe resume`
    gate = "owner"            # and somebody has to say `henslowe promote SERVICE --step`

After the last step the version is promoted when the verdict says so; at any step it is taken back when the verdict
says that. A `Plan` is kept with its version, so that it is finished as it was begun. Who acts on it:
`henslowe.actors.versions`.
"""

from __future__ import annotations

import itertools
import re
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator

from henslowe.config.freeze import Window
from henslowe.config.section import Section

STEPS_MAX: Final = 20
PARTS: Final = 100
"""Of a percent: shares of traffic are counted in ten-thousandths."""

FOREVER: Final = "forever"
HOLD_S_MAX: Final = 30 * 24 * 3600
_GATE: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9 _.-]{0,63}")


def _named(gate: str) -> str:
    if not _GATE.fullmatch(gate):
        raise ValueError(f"expected a short name such as 'owner' or 'load test', got {gate!r:.80}")
    return gate


def _lasting(hold: object) -> object:
    number = isinstance(hold, int | float) and not isinstance(hold, bool) and 0 <= hold <= HOLD_S_MAX
    if not number and hold != FOREVER:
        raise ValueError(f'expected seconds from 0 to {HOLD_S_MAX}, or "forever", got {hold!r:.80}')
    return hold


Gate = Annotated[str, AfterValidator(_named)]
"""Whom or what it waits for, in a word or two for people."""
Hold = Annotated[float | Literal["forever"], BeforeValidator(_lasting)]
StrategyName = Literal["auto", "immediate", "canary", "blue-green"]


class Step(Section):
    """One step of a canary. It ends when all of its conditions are met, and nothing speaks against the version."""

    weight: Annotated[float, Field(gt=0, le=100)]
    """Percent of the units of traffic that meet the new version; more than at the step before."""
    min_calls: Annotated[int, Field(ge=0, le=1_000_000)] = 20
    """Calls that the new version has to answer in this step."""
    hold: Hold = 0.0
    """Seconds that the step lasts at least; `forever`: until a person resumes it."""
    gate: Gate | None = None
    """A person has to approve before the step ends."""

    @property
    def parts(self) -> int:
        """The weight in ten-thousandths."""
        return round(self.weight * PARTS)

    @field_validator("weight")
    @classmethod
    def _is_something(cls, weight: float) -> float:
        if round(weight * PARTS) < 1:
            raise ValueError(f"expected at least 0.01 percent, got {weight:g}")
        return weight


class Gates(Section):
    """Where a person has to approve, whatever the steps say."""

    before_canary: Gate | None = None
    """Before the version meets any traffic; for `immediate` and `blue-green`, before it takes all of it."""
    before_promotion: Gate | None = None
    """Before a canary becomes active: the gate of the last step."""


class Plan(Section):
    """How one version comes to its traffic, complete but for the node's defaults."""

    steps: tuple[Step, ...] = ()
    """Of a canary; none: one step of the version's weight, that lasts until the verdict."""
    gate_first: str = ""
    """Whom it waits for before it meets any traffic."""
    gate_last: str = ""
    """Whom it waits for before its last step ends in promotion."""
    warm_s: Annotated[float, Field(ge=0)] | None = None
    """How long the version before it stays warm after the swap; None: until the next one."""
    windows: tuple[Window, ...] = ()
    """When the service is frozen, beside the node's own windows; as of its newest version."""

    def steps_of(self, weight: int) -> tuple[Step, ...]:
        """The steps, one of `weight` ten-thousandths where there are none, the last one with the last gate."""
        steps = self.steps or (Step(weight=max(1, weight) / PARTS, min_calls=0),)
        last = steps[-1]
        gate = last.gate or self.gate_last or None
        return (*steps[:-1], last.model_copy(update={"gate": gate}))


Steps = Annotated[tuple[Step, ...], Field(max_length=STEPS_MAX)]


def climbing(steps: tuple[Step, ...]) -> tuple[Step, ...]:
    """The steps, each with more traffic than the one before: nobody is moved back and forth.

    Raises:
        ValueError: They are not, or there is nothing but all of the traffic.
    """
    for before, after in itertools.pairwise(steps):
        if after.parts <= before.parts:
            raise ValueError(f"expected each weight above the one before, got {after.weight:g} after {before.weight:g}")
    if len(steps) == 1 and steps[0].weight == 100:
        raise ValueError('expected a first step below 100 percent, got 100; for all at once say strategy = "immediate"')
    return steps
