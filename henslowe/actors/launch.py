"""How to run one version of a service: a command with pipes, a command that listens, or a remote address.

Pure data, stored in the version's row, so that any node that holds the build can start it again.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Self

from pydantic import BaseModel, ConfigDict, model_validator


class Wire(StrEnum):
    """What the server speaks."""

    STDIO = "stdio"
    """Newline-delimited JSON-RPC on the child's standard input and output."""
    HTTP = "http"
    """Streamable HTTP: a child that listens on a port it is given, or a remote URL."""


class LaunchSpec(BaseModel):
    """How an instance comes to life.

    `command` uses `{port}` where a listening child wants its port, and paths relative to `cwd`. A remote service has
    a `url` and no command. `cwd` is "" for "the materialised build's folder".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    wire: Wire = Wire.STDIO
    command: tuple[str, ...] = ()
    url: str = ""
    cwd: str = ""
    env: dict[str, str] = {}
    ready_timeout_s: float = 30.0
    """Longest wait from start to the first successful handshake and tool list."""

    @model_validator(mode="after")
    def _one_way_to_run(self) -> Self:
        if not self.command and not self.url:
            raise ValueError("expected a command or a url, got neither")
        if self.wire is Wire.STDIO and not self.command:
            raise ValueError("expected a command for a stdio server, got none")
        if self.wire is Wire.HTTP and self.command and "{port}" not in self.url:
            raise ValueError(
                "expected a url with {port} for a command that listens, for example http://127.0.0.1:{port}/mcp"
            )
        return self

    @property
    def remote(self) -> bool:
        """Whether the server runs somewhere else."""
        return not self.command
