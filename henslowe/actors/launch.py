"""How to run one version of a service: a command with pipes, a command that listens, or a remote address.

Pure data, stored in the version's row, so that any node that holds the build can start it again; and the environment
in which it then runs, the same for an instance as for the pipeline's check of it.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final, Self, TypeAlias

from pydantic import BaseModel, ConfigDict, model_validator


class Wire(StrEnum):
    """What the server speaks."""

    STDIO = "stdio"
    """Newline-delimited JSON-RPC on the child's standard input and output."""
    HTTP = "http"
    """Streamable HTTP: a child that listens on a port it is given, or a remote URL."""


class LaunchSpec(BaseModel):
    """How an instance comes to life.

    `command` uses `{port}` where a listening child wants its port, and paths relative to `cwd`. A variable in `env` may
    be `secret:NAME`: only the started server gets the secret itself. A remote service has a `url` and no command. `cwd`
    is "" for "the materialised build's folder".
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    wire: Wire = Wire.STDIO
    command: tuple[str, ...] = ()
    url: str = ""
    cwd: str = ""
    env: dict[str, str] = {}
    headers: dict[str, str] = {}
    """Sent with each request to a `url`. As in `env` a value may refer to a secret."""
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


INHERITED: Final = frozenset(
    {
        *("HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER"),
        *("SSL_CERT_DIR", "SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "no_proxy", "all_proxy"),
    }
)
"""Variables of the node that a server sees, beside `LC_*`. Settings of package managers are not among them: only the
installation of dependencies has a use for those, and they may hold passwords."""

SERVICE_DATA: Final = "HENSLOWE_SERVICE_DATA"
"""Names a folder that belongs to the service and outlives its versions, whose own folders are read-only."""


Resolve: TypeAlias = Callable[[Mapping[str, str]], Mapping[str, str]]
"""Puts the secrets into variables or headers that refer to them (`secret:NAME`); `dict` leaves them as they are."""


def server_environment(
    launch: LaunchSpec,
    cwd: Path,
    *,
    port: int,
    data: Path,
    inherited: Mapping[str, str] = os.environ,
    secrets: Resolve = dict,
) -> dict[str, str]:
    """All variables of a server: little of the node's, so that no secret of it gets there by accident.

    Args:
        launch: Has the service's own variables, which win.
        cwd: Where it runs; its `.venv` and `node_modules` are found.
        port: Stands for `{port}`.
        data: The service's own folder.
        inherited: The node's environment.
        secrets: Resolves what the service's own variables refer to: here, at the last moment, and nowhere before.
    """
    env = {name: value for name, value in inherited.items() if name in INHERITED or name.startswith("LC_")}
    env["PATH"] = _path(launch, cwd, env.get("PATH", os.defpath))
    if (cwd / ".venv").is_dir():
        env["VIRTUAL_ENV"] = str(cwd / ".venv")
    env["PYTHONUNBUFFERED"] = "1"
    env["PYTHONDONTWRITEBYTECODE"] = "1"  # the folder of a version is read-only
    env[SERVICE_DATA] = str(data)
    env.update(secrets({name: value.replace("{port}", str(port)) for name, value in launch.env.items()}))
    return env


def _path(launch: LaunchSpec, cwd: Path, inherited: str) -> str:
    """The search path: the version's own tools, those beside its interpreter and the node's, then the node's."""
    own = [folder for folder in (cwd / ".venv" / "bin", cwd / "node_modules" / ".bin") if folder.is_dir()]
    if launch.command and Path(launch.command[0]).is_absolute():
        own.append(Path(launch.command[0]).parent)
    folders = [*map(str, own), str(Path(sys.executable).parent), *inherited.split(os.pathsep)]
    return os.pathsep.join(dict.fromkeys(folders))
