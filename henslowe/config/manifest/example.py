"""`[[examples]]` of `service.toml`: calls that every version must answer before it meets a client."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, JsonValue

from henslowe.config.section import Section


class Example(Section):
    """One call of a tool, made by `mcp-check`."""

    tool: Annotated[str, Field(min_length=1, max_length=256)]
    arguments: dict[str, JsonValue] = {}
    expect: dict[str, JsonValue] = {}
    """What the result must have, at least: `{ structuredContent = { sum = 3 } }`, `{ isError = true }`; `text` is all
    of its text. Without `isError` here an error is a failure."""
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 10.0


Examples = Annotated[tuple[Example, ...], Field(max_length=50)]
