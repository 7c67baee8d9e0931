"""What was sent on event streams of the handshake era, kept for clients that come back with `Last-Event-ID`.

`rows` is the table, `keeper` the actor that owns it. What is kept, and for how long, is
`henslowe.transport.gateway.replay`'s to decide.
"""

from henslowe.actors.replay.keeper import ReplayKeeper
from henslowe.actors.replay.rows import REPLAY, ReplayRow

__all__ = ["REPLAY", "ReplayKeeper", "ReplayRow"]
