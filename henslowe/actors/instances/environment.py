"""What a child inherits and what is filled into its command: pure, but for asking the system for a free port.

A child gets little of the node's environment, so that a version runs the same on every machine and no secret of the
node's reaches it by accident; what it needs is in its launch spec.
"""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from henslowe.actors.launch import LaunchSpec

INHERITED: Final = frozenset(
    {
        *("HOME", "LANG", "LANGUAGE", "LOGNAME", "PATH", "SHELL", "TMPDIR", "TZ", "USER"),
        *("SSL_CERT_DIR", "SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS"),
        *("HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy"),
    }
)
"""Variables of the node that a child sees, beside `LC_*`."""

SERVICE_DATA: Final = "HENSLOWE_SERVICE_DATA"
"""Names a folder that belongs to the service and outlives its versions, whose own folders are read-only."""


@dataclass(slots=True, frozen=True)
class Command:
    """A launch spec with everything filled in."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str]
    url: str


def command(
    launch: LaunchSpec, root: Path | None, *, port: int, data: Path, inherited: Mapping[str, str] = os.environ
) -> Command:
    """The command to run, where, with which environment, and the URL at which it then listens.

    Args:
        launch: How the version is run.
        root: The materialised build; None for a declared service.
        port: Stands for `{port}` in the command, the environment and the URL.
        data: The service's own folder.
        inherited: The node's environment.
    """
    cwd = (root / launch.cwd if root is not None else Path(launch.cwd or ".")).resolve()
    number = str(port)
    env = {name: value for name, value in inherited.items() if name in INHERITED or name.startswith("LC_")}
    env["PATH"] = _path(cwd, env.get("PATH", os.defpath))
    if (cwd / ".venv").is_dir():
        env["VIRTUAL_ENV"] = str(cwd / ".venv")
    env["PYTHONUNBUFFERED"] = "1"
    env["PYTHONDONTWRITEBYTECODE"] = "1"  # the folder of a version is read-only
    env[SERVICE_DATA] = str(data)
    env.update({name: value.replace("{port}", number) for name, value in launch.env.items()})
    return Command(
        argv=tuple(part.replace("{port}", number) for part in launch.command),
        cwd=cwd,
        env=env,
        url=launch.url.replace("{port}", number),
    )


def free_port() -> int:
    """A loopback port that nobody listens on now.

    Somebody else may take it first; then the start fails, and another one has another port.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _path(cwd: Path, inherited: str) -> str:
    """The search path: the version's own tools, then those beside the node's interpreter, then the node's."""
    own = [cwd / ".venv" / "bin", cwd / "node_modules" / ".bin"]
    return os.pathsep.join(
        [*(str(folder) for folder in own if folder.is_dir()), str(Path(sys.executable).parent), inherited]
    )
