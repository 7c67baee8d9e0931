"""Which folders below `dev` are services: those whose names can be, links to folders included."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from henslowe.actors.ids import ServiceName, service_name
from henslowe.actors.watcher.status import Problem
from henslowe.errors import ConfigError

SERVICES_MAX: Final = 1_000
KINDS: Final = ("name", "too_many")
"""Kinds of the problems that a listing may find."""


@dataclass(slots=True, frozen=True)
class Found:
    """One service's folder."""

    path: Path
    root: Path
    """`path` with symbolic links resolved."""
    identity: tuple[int, int]
    """Device and inode of `root`: another folder under the same name has another one."""


def list_services(dev: Path) -> tuple[dict[ServiceName, Found], list[Problem]]:
    """The services below `dev`, sorted, and what is wrong with the other folders.

    Raises:
        OSError: `dev` itself cannot be listed.
    """
    found: dict[ServiceName, Found] = {}
    problems: list[Problem] = []
    for entry in sorted(os.scandir(dev), key=lambda entry: entry.name):
        try:
            if entry.name.startswith((".", "__")) or not entry.is_dir():
                continue
            name = service_name(entry.name)
            root = Path(entry.path).resolve()
            status = root.stat()
        except ConfigError as error:
            problems.append(Problem("name", entry.name, str(error), error.hint))
            continue
        except OSError:
            continue  # gone since it was listed
        if len(found) >= SERVICES_MAX:
            problems.append(Problem("too_many", "", f"expected at most {SERVICES_MAX} services below dev, got more"))
            break
        found[name] = Found(Path(entry.path), root, (status.st_dev, status.st_ino))
    return found, problems
