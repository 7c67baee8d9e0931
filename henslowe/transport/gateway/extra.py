"""Methods that no specification has, answered by extensions. Looked up for methods that the gateway does not know.

An extension that raises, hangs or gives what is no JSON object fails the one request; it is shown as degraded.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, Protocol, TypeAlias

from henslowe.actors.bounded import bounded
from henslowe.actors.endpoints import JsonObject
from henslowe.extensions import ExtensionError, ProtocolHandler, ProtocolRequest
from henslowe.transport.mcp import jsonrpc

HANDLE_S: Final = 30.0

FindHandler: TypeAlias = Callable[[str], tuple[str, ProtocolHandler] | None]
"""Name and handler for a method, if one runs."""
Called: TypeAlias = Callable[[str, str], None]
"""Told of each call: the extension's name, and what was wrong or ""."""


class ExtraMethods(Protocol):
    """What the gateway asks."""

    def __contains__(self, method: object) -> bool: ...
    async def answer(self, method: str, params: Any, *, service: str, principal: str) -> JsonObject:
        """The answer: `{"result": ...}` or `{"error": ...}`."""
        ...


class NoMethods:
    """Without extensions."""

    def __contains__(self, method: object) -> bool:
        return False

    async def answer(self, method: str, params: Any, *, service: str, principal: str) -> JsonObject:  # noqa: ARG002
        """Never asked."""
        return jsonrpc.error(jsonrpc.METHOD_NOT_FOUND, f"Method not found: {method}")


class PluggedMethods:
    """Those of extensions.

    Args:
        methods: All that extensions answer; fixed when the node starts.
        find: Who answers one now.
        called: Told of each call.
    """

    def __init__(self, methods: frozenset[str], find: FindHandler, called: Called) -> None:
        self._methods = methods
        self._find = find
        self._called = called

    def __contains__(self, method: object) -> bool:
        return method in self._methods

    async def answer(self, method: str, params: Any, *, service: str, principal: str) -> JsonObject:
        """See `ExtraMethods.answer`."""
        found = self._find(method)
        if found is None:
            return jsonrpc.error(jsonrpc.INTERNAL_ERROR, f"{method}: its extension does not run now")
        name, handler = found
        given = {key: value for key, value in params.items() if key != "_meta"} if isinstance(params, dict) else {}
        try:
            result = await bounded(
                handler.handle, ProtocolRequest(method, given, service, principal), deadline_s=HANDLE_S
            )
        except ExtensionError as error:
            self._called(name, "")
            return jsonrpc.error(error.code, error.message, error.data)
        except Exception as error:  # noqa: BLE001 - foreign code, which fails this request and nothing else
            self._called(name, f"{method}: {type(error).__name__}: {error}")
            return jsonrpc.error(jsonrpc.INTERNAL_ERROR, f"{method}: its extension failed")
        if not isinstance(result, dict):
            self._called(name, f"{method}: expected an object as result, got {type(result).__name__}")
            return jsonrpc.error(jsonrpc.INTERNAL_ERROR, f"{method}: its extension failed")
        self._called(name, "")
        return {"result": result}
