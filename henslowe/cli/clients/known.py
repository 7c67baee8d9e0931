"""The clients that are known here: where each has its configuration, in which format, and what an entry looks like.

Sources: the clients' own documentation of their MCP configuration, November 2026.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from henslowe.errors import ConfigError

Entry = Callable[[str, str, Mapping[str, str]], dict[str, Any]]
"""An entry from a name, a URL and headers."""


@dataclass(slots=True, frozen=True)
class Client:
    """One client.

    Attributes:
        id: As on the command line.
        title: As its makers call it.
        format: `json` (comments are kept), `toml` or `yaml`.
        table: The key under which its servers are.
        path: Its file, of this user on this system.
        entry: What it wants to be told of a server.
        after: What has to be done for it to use a new entry.
    """

    id: str
    title: str
    format: str
    table: str
    path: Callable[[], Path]
    entry: Entry
    after: str


def _home(*parts: str) -> Callable[[], Path]:
    return lambda: Path.home().joinpath(*parts)


def _application(*parts: str) -> Callable[[], Path]:
    """Below the folder where desktop applications have their settings on this system."""

    def path() -> Path:
        if sys.platform == "darwin":
            return Path.home().joinpath("Library", "Application Support", *parts)
        if sys.platform == "win32":
            return Path(os.environ.get("APPDATA", Path.home())).joinpath(*parts)
        return Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config").joinpath(*parts)

    return path


def _codex() -> Path:
    return Path(os.environ.get("CODEX_HOME") or Path.home() / ".codex") / "config.toml"


def _with(entry: dict[str, Any], key: str, headers: Mapping[str, str]) -> dict[str, Any]:
    return {**entry, key: dict(headers)} if headers else entry


def _bridged(_name: str, url: str, headers: Mapping[str, str]) -> dict[str, Any]:
    """For a client whose file knows commands only: a bridge from npm talks HTTP for it."""
    arguments = ["-y", "mcp-remote", url]
    for name, value in headers.items():
        arguments += ["--header", f"{name}: {value}"]
    return {"command": "npx", "args": arguments}


def _goose(name: str, url: str, headers: Mapping[str, str]) -> dict[str, Any]:
    entry = {"enabled": True, "type": "streamable_http", "name": name, "uri": url, "timeout": 300}
    return _with(entry, "headers", headers)


CLIENTS: Final = (
    Client(
        "claude-desktop",
        "Claude Desktop",
        "json",
        "mcpServers",
        _application("Claude", "claude_desktop_config.json"),
        _bridged,
        "restart Claude Desktop",
    ),
    Client(
        "claude-code",
        "Claude Code",
        "json",
        "mcpServers",
        _home(".claude.json"),
        lambda _name, url, headers: _with({"type": "http", "url": url}, "headers", headers),
        "claude mcp list",
    ),
    Client(
        "cursor",
        "Cursor",
        "json",
        "mcpServers",
        _home(".cursor", "mcp.json"),
        lambda _name, url, headers: _with({"url": url}, "headers", headers),
        "enable it in Cursor's settings, under MCP",
    ),
    Client(
        "vscode",
        "VS Code",
        "json",
        "servers",
        _application("Code", "User", "mcp.json"),
        lambda _name, url, headers: _with({"type": "http", "url": url}, "headers", headers),
        "start it in VS Code with the command MCP: List Servers",
    ),
    Client(
        "windsurf",
        "Windsurf",
        "json",
        "mcpServers",
        _home(".codeium", "windsurf", "mcp_config.json"),
        lambda _name, url, headers: _with({"serverUrl": url}, "headers", headers),
        "refresh the servers in Windsurf's settings",
    ),
    Client(
        "codex",
        "Codex",
        "toml",
        "mcp_servers",
        _codex,
        lambda _name, url, headers: _with({"url": url}, "http_headers", headers),
        "codex mcp list",
    ),
    Client(
        "gemini",
        "Gemini CLI",
        "json",
        "mcpServers",
        _home(".gemini", "settings.json"),
        lambda _name, url, headers: _with({"httpUrl": url}, "headers", headers),
        "gemini mcp list",
    ),
    Client("goose", "Goose", "yaml", "extensions", _application("goose", "config.yaml"), _goose, "goose session"),
)


def client_of(name: str) -> Client:
    """The client of that name.

    Raises:
        ConfigError: It is not known here.
    """
    for client in CLIENTS:
        if client.id == name:
            return client
    known = ", ".join(client.id for client in CLIENTS)
    raise ConfigError(
        f"expected one of {known}, got: {name!r}", hint="henslowe client snippet prints an entry to paste"
    )
