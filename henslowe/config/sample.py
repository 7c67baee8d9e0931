"""The first service of an empty workspace: one tool and one test, small enough to read in half a minute.

Written once and never touched again: from then on it is the person's own code.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from henslowe.errors import WorkspaceError

SERVER: Final = '''\
"""A small MCP server. Edit it while the node runs: each save becomes a version."""

from mcp.server import MCPServer
from mcp.types import ToolAnnotations

server = MCPServer("hello", version="1.0.0")


@server.tool(annotations=ToolAnnotations(readOnlyHint=True))
def greet(name: str) -> str:
    """Greet somebody by name."""
    return f"Hello, {name}!"


if __name__ == "__main__":
    server.run("stdio")
'''

TEST: Final = '''\
"""What must stay true. A version that fails here never meets a client."""

from server import greet


def test_the_greeting_names_the_person() -> None:
    """However it is worded."""
    assert "Ada" in greet("Ada")
'''


def ensure_workspace(workspace: Path) -> None:
    """Make the workspace exist, a folder that this user can write; its parents too.

    Raises:
        WorkspaceError: It is a file, or cannot be made or written.
    """
    try:
        workspace.mkdir(parents=True, exist_ok=True)
    except FileExistsError as error:
        raise WorkspaceError(
            f"expected the workspace {workspace} to be a folder, got: a file", hint="give another path to henslowe up"
        ) from error
    except OSError as error:
        raise WorkspaceError(
            f"cannot make the workspace {workspace}: {error.strerror}", hint="check the owner of its parent folder"
        ) from error
    if not os.access(workspace, os.W_OK | os.X_OK):
        raise WorkspaceError(
            f"cannot use the workspace {workspace}: it is not writable by this user", hint="check its owner and mode"
        )


def ensure_sample(workspace: Path) -> bool:
    """Make the workspace exist, and put the sample service into it when it is empty; True when it did.

    Empty means: nothing in it but hidden files (a fresh `git init` is empty).

    Raises:
        WorkspaceError: The path is not a folder, or cannot be written.
    """
    ensure_workspace(workspace)
    try:
        if any(not entry.name.startswith(".") for entry in workspace.iterdir()):
            return False
        service = workspace / "dev" / "hello"
        service.mkdir(parents=True)
        (service / "server.py").write_text(SERVER)
        (service / "test_server.py").write_text(TEST)
    except OSError as error:
        raise WorkspaceError(
            f"cannot use the workspace {workspace}: {error.strerror}", hint="check its owner and mode"
        ) from error
    return True
