"""Finds the node that a command is about: by `--data`, by `--workspace`, or from the current folder upward."""

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
    if data is None and os.environ.get("HENSLOWE_DATA"):
        data = Path(os.environ["HENSLOWE_DATA"])
    if workspace is None and os.environ.get("HENSLOWE_WORKSPACE"):
        workspace = Path(os.environ["HENSLOWE_WORKSPACE"])
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
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
