"""`[launch]` of `service.toml`: how to run the server."""

from __future__ import annotations

from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from henslowe.config.references import Referring
from henslowe.config.section import Section

Command = tuple[str, ...]


class Launch(Section):
    """How to run the server; relative paths and `{port}` as in `henslowe.actors.launch.LaunchSpec`."""

    wire: Literal["stdio", "http"] = "stdio"
    command: Command = ()
    """A word without a slash is looked up in the service's environment first, then on PATH."""
    url: str = ""
    env: dict[str, Referring] = {}
    """Variables of the server. A value may be `secret:NAME`: see `henslowe secrets`."""
    headers: dict[str, Referring] = {}
    """Sent with each request to a `url`; a value may be `secret:NAME` or `Bearer secret:NAME`."""
    ready_timeout_s: Annotated[float, Field(gt=0, le=600)] = 30.0

    @field_validator("url")
    @classmethod
    def _is_url(cls, value: str) -> str:
        try:
            parts = urlsplit(value.replace("{port}", "1"))
            good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.username is None
        except ValueError:
            good = False
        if value and not good:
            got = "one with credentials" if "@" in value else repr(value[:200])
            raise ValueError(f"expected a url like https://host/mcp (credentials belong into headers), got {got}")
        return value

    @model_validator(mode="after")
    def _one_way_to_reach_it(self) -> Self:
        if self.wire == "http" and self.command and "{port}" not in self.url:
            raise ValueError(
                "expected a url with {port} for a command that listens, for example http://127.0.0.1:{port}/mcp"
            )
        return self
