"""How a running node is found: `node.json` in its data directory, and the path of its admin socket.

The node announces itself when its listeners are up; the CLI, an attached process or a script reads the file. The file
says where to knock, not that somebody is at home: only an answer proves that.
"""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Final

from henslowe.errors import ConfigError

NODE_FILE: Final = "node.json"
DATA_FOLDER: Final = ".henslowe"
FILE_NAME: Final = "henslowe.toml"
"""The configuration; like the data folder it marks a folder as a workspace."""
SOCKET_BYTES_MAX: Final = 100
"""Longest path of a socket we use; the kernel's `sun_path` holds 108 bytes with its terminator."""
_FILE_BYTES_MAX = 64 * 1024


@dataclass(slots=True, frozen=True)
class NodeFile:
    """Where a node listens and who it is."""

    pid: int
    boot_id: str
    """The machine's boot, so that a pid from before a reboot is not taken for a running node."""
    url: str
    """`http://HOST:PORT` of the listener, with the port it really got."""
    socket: str
    """Path of the admin socket, "" when the path would be too long; then `url` with the token is used."""
    token_file: str
    workspace: str
    data: str
    name: str
    version: str


def admin_socket(data_dir: Path) -> Path | None:
    """Where the admin socket of a data directory is, or None when its path is too long for a socket."""
    path = data_dir / "admin.sock"
    return path if len(os.fsencode(path)) <= SOCKET_BYTES_MAX else None


def boot_id() -> str:
    """The machine's boot id, or "" where the kernel does not tell."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return ""


def announce(node: NodeFile) -> Callable[[], None]:
    """Write the node's file, whole; returns the function that takes it away again.

    When the data directory is elsewhere, a copy in `<workspace>/.henslowe` lets the CLI find it from the workspace.
    """
    folders = {Path(node.data), Path(node.workspace) / DATA_FOLDER}
    written = [_write(folder / NODE_FILE, json.dumps(asdict(node), indent=2) + "\n") for folder in folders]

    def withdraw() -> None:
        for path in written:
            with contextlib.suppress(OSError, ConfigError):
                found = read_node_file(path)
                if found is not None and found.pid == node.pid:
                    path.unlink(missing_ok=True)

    return withdraw


def read_node_file(path: Path) -> NodeFile | None:
    """The node's file, or None when there is none. Keys that this version does not know are ignored.

    Raises:
        ConfigError: The file cannot be read or is not a node's file.
    """
    try:
        with path.open("rb") as file:
            content = json.loads(file.read(_FILE_BYTES_MAX))
        return NodeFile(**{key: content[key] for key in NodeFile.__slots__})
    except (FileNotFoundError, NotADirectoryError):
        return None
    except PermissionError as error:
        raise ConfigError(
            f"cannot read {path}: {error.strerror}", hint="run this as the user whose node it is"
        ) from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigError(
            f"cannot read {path}: {error or type(error).__name__}", hint="remove it; a running node's start writes it"
        ) from error


def _write(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with os.fdopen(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    temporary.replace(path)
    return path
