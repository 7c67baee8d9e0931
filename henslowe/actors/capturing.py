"""The port between whoever makes calls and whoever records them.

The gateway asks `wants` for each finished call, and only then makes an `Exchange` of it; neither may block or fail. The
node puts the store's recorder here, or nothing where traffic is not recorded.
"""

from __future__ import annotations

from typing import Protocol

from henslowe.storage.capture import Exchange

__all__ = ["CallCapture", "Exchange"]


class CallCapture(Protocol):
    """Takes finished calls. Runs in: the node's loop."""

    def wants(self, service: str, method: str, unit: str) -> bool:
        """Whether a call of this service, method and unit of routing is to be recorded."""
        ...

    def record(self, exchange: Exchange) -> None:
        """Record a call; what the exchange refers to is not changed afterwards."""
        ...
