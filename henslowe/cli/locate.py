"""Finds the node that a command is about: by `--data`, by `--workspace`, or from the current folder upward.

`find_node` wants it running, `find_data_dir` only wants its data directory.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from henslowe.config.node_file import DATA_FOLDER, FILE_NAME, NODE_FILE, NodeFile, boot_id, read_node_file
from henslowe.errors import NodeUnreachable


def find_node(workspace: Path | None = None, data: Path | None = None) -> NodeFile:
    """Where the node announced itself.

    Raises:
        NodeUnreachable: No node has announced itself there.
    """
    workspace, data = _from_environment(workspace, data)
    if data is not None:
        place = data.expanduser()
    elif workspace is not None:
        place = workspace.expanduser() / DATA_FOLDER
    else:
        place = _workspace_around(Path.cwd()) / DATA_FOLDER
    node = read_node_file(place / NODE_FILE)
    if node is None:
        raise NodeUnreachable(
            f"cannot find a running node: none has announced itself in {place}",
            hint=f"start one with: {_up(workspace or '.')} (or say which with --workspace or --data)",
        )
    return node


def find_data_dir(workspace: Path | None = None, data: Path | None = None) -> Path:
    """The data directory, whether a node runs on it or not, and whether it exists or not.

    Raises:
        ConfigError: The workspace's configuration, which may name another one, cannot be read.
    """
    from henslowe.config.loading import load

    workspace, data = _from_environment(workspace, data)
    if data is not None:
        return data.expanduser()
    folder = _workspace_around(Path.cwd()) if workspace is None else workspace.expanduser()
    # A node that was started with another directory leaves word in the usual one.
    node = read_node_file(folder / DATA_FOLDER / NODE_FILE)
    if node is not None and node.boot_id == boot_id() and _alive(node.pid):
        return Path(node.data)
    return load(folder).settings.data_dir


def find_workspace(workspace: Path | None = None, data: Path | None = None) -> Path:
    """The workspace, whether a node runs on it or not, and whether it exists or not."""
    workspace, data = _from_environment(workspace, data)
    if workspace is None and data is not None:
        return workspace_of(data.expanduser())
    return _workspace_around(Path.cwd()) if workspace is None else workspace.expanduser()


def workspace_of(data_dir: Path) -> Path:
    """The workspace of a data directory: as its node says, else the folder that it is in."""
    node = read_node_file(data_dir / NODE_FILE)
    return Path(node.workspace) if node is not None else data_dir.absolute().parent


def _from_environment(workspace: Path | None, data: Path | None) -> tuple[Path | None, Path | None]:
    """The two options, or the variables that stand for them."""
    if data is None and os.environ.get("HENSLOWE_DATA"):
        data = Path(os.environ["HENSLOWE_DATA"])
    if workspace is None and os.environ.get("HENSLOWE_WORKSPACE"):
        workspace = Path(os.environ["HENSLOWE_WORKSPACE"])
    return workspace, data


def _workspace_around(here: Path) -> Path:
    """The closest folder that looks like a workspace; the search ends there, whether its node runs or not.

    Going on would let `henslowe stop` in one workspace stop the node of another one around it.
    """
    for folder in (here, *here.parents):
        if (folder / DATA_FOLDER).is_dir() or (folder / FILE_NAME).is_file():
            return folder
    return here


def unreachable(node: NodeFile, cause: object) -> NodeUnreachable:
    """The error for a node that announced itself and does not answer."""
    hint = f"start it with: {_up(node.workspace)}"
    if node.boot_id != boot_id():
        state = "the machine was restarted since"
    elif _alive(node.pid):
        state = f"its process {node.pid} is there: it may be stopping or stuck"
        hint = f"try again in a moment; if that does not help: kill {node.pid}, then {_up(node.workspace)}"
    else:
        state = f"its process {node.pid} has ended"
    return NodeUnreachable(
        f"cannot reach the node of {node.workspace}: {cause}; {state}",
        hint=hint,
        pid=node.pid,
        socket=node.socket,
        url=node.url,
    )


def _up(workspace: Path | str) -> str:
    return f"henslowe up {shlex.quote(str(workspace))}"


def _alive(pid: int) -> bool:
    """Whether the process runs: one that has ended may be there until its parent looks at it, as in many containers."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(errors="replace")
    except OSError:
        return True
    return not stat.rpartition(")")[2].startswith(" Z")
