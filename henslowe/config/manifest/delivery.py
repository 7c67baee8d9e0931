"""How a service is shipped, as its `service.toml` says: everything but what it is and how it is built.

A table of one's own (`[health]`, `[[steps]]`) is a module beside this one with its models, and one field here: both
`service.toml` and the complete manifest then have it. None of these keys touches the build.
"""

from __future__ import annotations

from typing import Annotated, Final, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from henslowe.config.exposure import AbTest, DifferencesPolicy, Exposure, Mirror, ReplayPolicy, Sticky
from henslowe.config.freeze import Freeze
from henslowe.config.hooks import Hook, named
from henslowe.config.ramp import Gates, Plan, Steps, StrategyName, climbing
from henslowe.config.section import Percent, Section
from henslowe.config.settings import DeliverySettings
from henslowe.config.upkeep import Health, Scale

BLUE_GREEN_WARM_S: Final = 600.0
"""For trying the swapped-in version a while, with the way back open."""


class Delivery(Section):
    """What `service.toml` and the complete manifest share; None: as the node's `delivery` settings say."""

    strategy: StrategyName | None = None
    """Where there are steps: `canary`, unless it says `auto`."""
    canary_percent: Percent | None = None
    on_break: Literal["go", "hold", "fail"] | None = None
    """What becomes of a version that breaks clients of the active one without a greater major version: it goes on
    and says so, waits for a person, or fails."""
    steps: Annotated[Steps, AfterValidator(climbing)] = ()
    gates: Gates = Gates()
    freeze: Freeze = Freeze()
    warm_s: Annotated[float, Field(ge=0, le=30 * 24 * 3600)] | None = None
    """How long the version before stays warm after a swap; default: until the next one, 600 for `blue-green`."""
    health: Health = Health()
    scale: Scale = Scale()
    hooks: Annotated[tuple[Hook, ...], AfterValidator(named)] = ()
    replay: ReplayPolicy | None = None
    replay_differences: DifferencesPolicy | None = None
    sticky: Sticky | None = None
    ab: AbTest | None = None
    mirror: Mirror | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.steps and self.strategy in ("immediate", "blue-green"):
            raise ValueError(
                f'expected no steps with strategy = "{self.strategy}", got {len(self.steps)}; say "canary" or "auto", '
                "or remove [[steps]]"
            )
        if self.steps and self.steps[-1].gate and self.gates.before_promotion:
            raise ValueError(
                "expected one gate before the promotion, got two; remove gates.before_promotion, or the gate of the "
                "last of the steps"
            )
        if (self.ab or self.mirror) and (self.steps or self.strategy in ("immediate", "blue-green")):
            table = "ab" if self.ab else "mirror"
            has = "[[steps]]" if self.steps else f'strategy = "{self.strategy}"'
            raise ValueError(
                f'expected [{table}] with strategy = "canary" or none, got it beside {has}; remove one of the two'
            )
        return self

    def strategy_of(self, node: DeliverySettings) -> StrategyName:
        """The strategy, with the node's word where the service says nothing: steps mean a canary."""
        return self.strategy or ("canary" if self.steps else node.strategy)

    def plan_of(self, node: DeliverySettings) -> Plan:
        """How a version comes to its traffic."""
        warm_s, gates = self.warm_s, self.gates
        if warm_s is None and self.strategy_of(node) == "blue-green":
            warm_s = BLUE_GREEN_WARM_S
        return Plan(
            steps=self.steps,
            gate_first=gates.before_canary or "",
            gate_last=gates.before_promotion or "",
            warm_s=warm_s,
            windows=self.freeze.windows,
        )

    def exposed(self, node: DeliverySettings) -> Exposure:
        """How a version is shown to traffic, with the node's word where the service says nothing."""
        return Exposure(
            replay=self.replay or node.replay,
            replay_differences=self.replay_differences or node.replay_differences,
            sticky=self.sticky or node.sticky,
            ab=self.ab,
            mirror=self.mirror,
        )
