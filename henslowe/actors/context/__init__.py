"""Shared context: what the running services can do, as a CRDT document that outlives restarts and merges between nodes.

`capabilities` is the document's content and how it is kept true (pure), `keeper` the actor that keeps it. The document
itself, its disk format and its merging are `henslowe.storage.context`'s.
"""

from henslowe.actors.context.capabilities import Capabilities
from henslowe.actors.context.keeper import NAMESPACE, ContextKeeper, Refresh, SharedCapabilities

__all__ = ["NAMESPACE", "Capabilities", "ContextKeeper", "Refresh", "SharedCapabilities"]
