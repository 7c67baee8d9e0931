"""What a server says of its tools (`annotations`), found by name: a contract may list hundreds of them."""

from __future__ import annotations

from typing import Any, Final

from henslowe.actors.endpoints import Contract, JsonObject

CONTRACTS_MAX: Final = 1_000
"""Contracts whose tools are remembered by name; a node serves far fewer at a time."""
_NONE: Final[JsonObject] = {}

_known: dict[str, dict[str, JsonObject]] = {}


def hints_of(contract: Contract, tool: Any) -> JsonObject:
    """The annotations of a tool; empty for one that has none, or is not listed."""
    hints = _known.get(contract.digest)
    if hints is None:
        hints = {str(each.get("name")): _annotations(each) for each in contract.tools}
        if contract.digest:  # equal digests are equal contracts
            if len(_known) >= CONTRACTS_MAX:
                _known.clear()
            _known[contract.digest] = hints
    return hints.get(tool, _NONE) if isinstance(tool, str) else _NONE


def _annotations(tool: JsonObject) -> JsonObject:
    annotations = tool.get("annotations")
    return annotations if isinstance(annotations, dict) else _NONE
