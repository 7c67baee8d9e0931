"""What every table of `henslowe.toml` and `service.toml` is made of: the base class, and units with their limits."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Seconds = Annotated[float, Field(ge=0, le=7 * 24 * 3600)]
Percent = Annotated[float, Field(ge=0, le=100)]


class Section(BaseModel):
    """Base of all sections: frozen, and a key that is not known is an error."""

    model_config = ConfigDict(frozen=True, extra="forbid")
