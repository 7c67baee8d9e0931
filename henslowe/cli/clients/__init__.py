"""MCP clients on this machine and their configuration files: where they are, and how one entry is written into them.

`known` is the table of clients, `formats` edits text (JSON with comments, TOML, YAML) and keeps the rest as it is,
`files` replaces a file under lock, atomically, with a backup. The command is `henslowe.cli.snippet`.
"""

from __future__ import annotations

from henslowe.cli.clients.files import change_file
from henslowe.cli.clients.formats import Edit, edited, entries
from henslowe.cli.clients.known import CLIENTS, Client, client_of

__all__ = ["CLIENTS", "Client", "Edit", "change_file", "client_of", "edited", "entries"]
