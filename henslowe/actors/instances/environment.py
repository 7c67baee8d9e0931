"""What is filled into a child's command: pure, but for asking the system for a free port.

Which variables it gets is `henslowe.actors.launch.server_environment`'s business.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from henslowe.actors.launch import LaunchSpec, Resolve, server_environment


@dataclass(slots=True, frozen=True)
class Command:
    """A launch spec with everything filled in."""

    argv: tuple[str, ...]
    cwd: Path
    env: Mapping[str, str] = field(repr=False)  # with secrets
    url: str


def command(
    launch: LaunchSpec,
    root: Path | None,
    *,
    port: int,
    data: Path,
    inherited: Mapping[str, str] = os.environ,
    secrets: Resolve = dict,
) -> Command:
    """The command to run, where, with which environment, and the URL at which it then listens.

    Args:
        launch: How the version is run.
        root: The materialised build; None for a declared service.
        port: Stands for `{port}` in the command, the environment and the URL.
        data: The service's own folder.
        inherited: The node's environment.
        secrets: Resolves what its variables refer to.
    """
    cwd = (root / launch.cwd if root is not None else Path(launch.cwd or ".")).resolve()
    number = str(port)
    return Command(
        argv=tuple(part.replace("{port}", number) for part in launch.command),
        cwd=cwd,
        env=server_environment(launch, cwd, port=port, data=data, inherited=inherited, secrets=secrets),
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
