"""Runs the Python examples of the documentation as tests, and checks the TOML ones against the models."""

from __future__ import annotations

import tomllib
from typing import Any

from sybil import Example, Sybil
from sybil.parsers.myst import CodeBlockParser, PythonCodeBlockParser

from henslowe.config.manifest import ServiceFile
from henslowe.config.settings import Settings

_SETTINGS = frozenset(Settings.model_fields)


def _toml(example: Example) -> None:
    """A block is the node's settings when a key of theirs begins it, else a service's manifest."""
    table: dict[str, Any] = tomllib.loads(example.parsed)
    of_a_service = isinstance(table.get("hooks"), list)  # in the node's settings each has a name
    model = Settings if table.keys() & _SETTINGS and not of_a_service else ServiceFile
    model.model_validate(table)


pytest_collect_file = Sybil(
    parsers=[PythonCodeBlockParser(), CodeBlockParser("toml", _toml)], patterns=["*.md"]
).pytest()
