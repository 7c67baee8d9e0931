"""How a service is shipped, as its `service.toml` says: everything but what it is and how it is built.

A table of one's own (`[health]`, `[[steps]]`) is a module beside this one with its models, and one field here: both
`service.toml` and the complete manifest then have it. None of these keys touches the build.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator

from henslowe.config.hooks import Hook, named
from henslowe.config.section import Percent, Section
from henslowe.config.upkeep import Health, Scale


class Delivery(Section):
    """What `service.toml` and the complete manifest share; None: as the node's `delivery` settings say."""

    strategy: Literal["auto", "immediate", "canary"] | None = None
    canary_percent: Percent | None = None
    on_break: Literal["go", "hold", "fail"] | None = None
    """What becomes of a version that breaks clients of the active one without a greater major version: it goes on
    and says so, waits for a person, or fails."""
    health: Health = Health()
    scale: Scale = Scale()
    hooks: Annotated[tuple[Hook, ...], AfterValidator(named)] = ()
