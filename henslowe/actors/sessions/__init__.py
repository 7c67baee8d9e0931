"""Gateway sessions: durable rows of the handshake-era clients, so that a session outlives crashes and restarts.

`rows` is the table, `expiry` says which sessions have to go (pure), `manager` is the actor that owns both. What is not
here: the streams of a session and what flows on them, which are the gateway's.
"""

from henslowe.actors.sessions.manager import SessionManager
from henslowe.actors.sessions.rows import SESSIONS, SessionRow

__all__ = ["SESSIONS", "SessionManager", "SessionRow"]
