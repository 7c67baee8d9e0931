"""The SDK's pure part, and nothing else of it: the ladder of stateless requests, and the form of values in headers.

    from henslowe.transport.mcp.sdk import pure
    verdict = pure.classify_inbound_request(message, headers=headers)

`mcp.shared.inbound` is one module of functions. To import it by its name would run the package `mcp` first, with its
servers, its clients and the frameworks under them: half of a node's start, for what a node never uses. So it is loaded
from its file, under a name of its own, and only when something of it is used: `warm` does so once the node is ready.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

__all__ = ["pure", "warm"]

_BY_NAME: Final = "mcp.shared.inbound"
_ALONE: Final = "henslowe.transport.mcp._sdk_inbound"


class _Later:
    """The module, loaded by the first look at something in it. Runs in: any thread."""

    def __init__(self) -> None:
        self._loading = threading.Lock()

    def __getattr__(self, name: str) -> Any:
        with self._loading:
            found = getattr(_loaded(), name)
        setattr(self, name, found)  # the next look finds it here
        return found


if TYPE_CHECKING:
    from mcp.shared import inbound as pure
else:
    pure = _Later()


def warm() -> None:
    """Load it now, so that no request has to wait for that. Blocking: a tenth of a second, once."""
    _ = pure.classify_inbound_request


def _loaded() -> ModuleType:
    if _ALONE in sys.modules:
        return sys.modules[_ALONE]
    package = importlib.util.find_spec("mcp")
    for folder in (package.submodule_search_locations if package is not None else None) or ():
        file = Path(folder, "shared", "inbound.py")
        spec = importlib.util.spec_from_file_location(_ALONE, file) if file.is_file() else None
        if spec is not None and spec.loader is not None:
            module = sys.modules[_ALONE] = importlib.util.module_from_spec(spec)
            try:
                spec.loader.exec_module(module)
            except BaseException:
                del sys.modules[_ALONE]
                raise
            return module
    return importlib.import_module(_BY_NAME)  # installed in another way: then with all the rest
