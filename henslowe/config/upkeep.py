"""How running versions are looked after: `[health]` and `[scale]`, in `henslowe.toml` for all services and for one.

    # henslowe.toml: what holds for every service        # service.toml, or [services.NAME] in henslowe.toml
    [health]                                             [health]
    max_error_rate = 0.1                                 max_p95_ms = 800

`Health` and `Scale` are what somebody wrote, `HealthSettings` and `ScaleSettings` are complete; `laid_over` makes the
one of the other. Who acts on them: `henslowe.actors.health`, `henslowe.actors.instances`.
"""

from __future__ import annotations

from typing import Annotated, Self, TypeVar

from pydantic import BaseModel, Field, model_validator

from henslowe.config.section import Section

Rate = Annotated[float, Field(ge=0, le=1)]
Milliseconds = Annotated[float, Field(gt=0, le=3_600_000)]
INSTANCES_MAX = 64
"""Most instances of one version that may be asked for."""


class Health(Section):
    """When a version on trial is not good enough, and an instance too big, by a person's own measure.

    What is not given is taken from the node's `[health]`.
    """

    max_error_rate: Rate | None = None
    """Most failed calls, as a part of all: 0.05 is one in twenty. Nothing: no such limit."""
    max_p95_ms: Milliseconds | None = None
    """Longest time that 95 of 100 calls may take. Nothing: no such limit."""
    min_calls: Annotated[int, Field(ge=1, le=1_000_000)] | None = None
    """Fewest calls in the window before either limit is looked at. With few calls, one failure is a high rate."""
    window_s: Annotated[float, Field(ge=1, le=86_400)] | None = None
    """Calls older than this do not count."""
    max_rss_mb: Annotated[float, Field(gt=0, le=16 * 1024 * 1024)] | None = None
    """Resident memory of an instance, with its children, beyond which another takes its place. Nothing: no limit."""


class HealthSettings(Health):
    """The node's own, for services that say nothing else."""

    min_calls: Annotated[int, Field(ge=1, le=1_000_000)] = 50
    window_s: Annotated[float, Field(ge=1, le=86_400)] = 300.0


class Scale(Section):
    """How many instances of a version run. What is not given is taken from the node's `[scale]`."""

    min: Annotated[int, Field(ge=0, le=INSTANCES_MAX)] | None = None
    """Fewest. 0: an idle service sleeps, and a call wakes it."""
    max: Annotated[int, Field(ge=1, le=INSTANCES_MAX)] | None = None
    """Most; not less than `min`. Nothing: as many as `min`, and one at least."""
    target_queue: Annotated[float, Field(gt=0, le=100_000)] | None = None
    """Calls in flight and waiting, per instance, from which on there should be more instances."""
    idle_s: Annotated[float, Field(gt=0, le=7 * 24 * 3600)] | None = None
    """With `min = 0`: how long nobody calls before the service sleeps."""
    down_s: Annotated[float, Field(gt=0, le=24 * 3600)] | None = None
    """How long fewer instances would have been enough before one is stopped."""
    standby: Annotated[int, Field(ge=0, le=8)] | None = None
    """Started instances that take no calls until one of the others ends, beside the `min` to `max`."""

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.min is not None and self.max is not None and self.min > self.max:
            raise ValueError(f"expected max to be at least min ({self.min}), got {self.max}; raise max or lower min")
        return self


class ScaleSettings(Scale):
    """The node's own, for services that say nothing else."""

    min: Annotated[int, Field(ge=0, le=INSTANCES_MAX)] = 1
    target_queue: Annotated[float, Field(gt=0, le=100_000)] = 8.0
    idle_s: Annotated[float, Field(gt=0, le=7 * 24 * 3600)] = 900.0
    down_s: Annotated[float, Field(gt=0, le=24 * 3600)] = 60.0
    standby: Annotated[int, Field(ge=0, le=8)] = 0

    @property
    def most(self) -> int:
        """Most instances: `max`, or as many as `min` where nobody said."""
        return self.max or max(1, self.min)


Complete = TypeVar("Complete", bound=BaseModel)


def laid_over(base: Complete, *given: BaseModel) -> Complete:
    """The complete settings with what was given laid over, the last one winning.

    Bounds that were given apart may not fit together (`min` of a service above the node's `max`): the one that was
    given last pulls the other along.
    """
    values = base.model_dump()
    for each in given:
        said = each.model_dump(exclude_none=True)
        values |= said
        if "min" in said and "max" not in said and values["max"] is not None:
            values["max"] = max(values["max"], said["min"])
        elif "max" in said and "min" not in said:
            values["min"] = min(values["min"], said["max"])
    return type(base).model_validate(values)
