"""Henslowe: an OTP-style node that develops, ships, routes and supervises MCP servers.

The five rooms of the house are `config`, `storage`, `actors`, `supervisors` and `transport`; `henslowe.node`
composes them and `henslowe.cli` is the front door. Importing this package does nothing else.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__ = "0.1.0"
