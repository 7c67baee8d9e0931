"""Finds the node that a command is about: by `--data`, by `--workspace`, or from the current folder upward."""

from __future__ import annotations

import os
from pathlib import Path

from henslowe.config.node_file import DATA_FOLDER, NODE_FILE, NodeFile, boot_id, read_node_file
from henslowe.errors import NodeUnreachable


def find_node(workspace: Path | None = None, data: Path | None = None) -> NodeFile:
    """Where the node announced itself.

    Raises:
        NodeUnreachable: No node has announced itself there.
    """
    if data is None and os.environ.get("HENSLOWE_DATA"):
        data = Path(os.environ["HENSLOWE_DATA"])
    if data is not None:
        places, where = [data.expanduser()], str(data)
    else:
        given = workspace or (Path(os.environ["HENSLOWE_WORKSPACE"]) if os.environ.get("HENSLOWE_WORKSPACE") else None)
        start = (given or Path()).expanduser().absolute()
        folders = [start] if given is not None else [start, *start.parents]
        places = [folder / DATA_FOLDER for folder in folders]
        where = str(start) if given is not None else f"{start} or above"
    for place in places:
        node = read_node_file(place / NODE_FILE)
        if node is not None:
            return node
    raise NodeUnreachable(
        f"cannot find a running node in {where}",
        hint=f"start one with: henslowe up {workspace or '.'} (or say which with --workspace or --data)",
    )


def unreachable(node: NodeFile, cause: object) -> NodeUnreachable:
    """The error for a node that announced itself and does not answer."""
    if node.boot_id != boot_id():
        state = "the machine was restarted since"
    elif _alive(node.pid):
        state = f"its process {node.pid} is there: it may be starting or stuck"
    else:
        state = f"its process {node.pid} has ended"
    return NodeUnreachable(
        f"cannot reach the node of {node.workspace}: {cause}; {state}",
        hint=f"start it with: henslowe up {node.workspace}",
        pid=node.pid,
        socket=node.socket,
        url=node.url,
    )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
