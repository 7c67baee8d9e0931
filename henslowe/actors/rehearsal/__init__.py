"""The rehearsal: captured calls are sent to a new version and to the active one, before the new one meets a client.

    captures -> selecting -> running (both versions) -> doubts (fresh copies of both) -> report -> VERSIONS

`selecting` and `report` are pure, `running` makes the calls, `actor` is the shell. How answers are compared, and from
when on failures are more than chance, is `henslowe.actors.pairing`'s; what becomes of the version is
`henslowe.actors.versions.rehearsing`'s.

Calls go to the servers themselves and not through the gateway: they are not captured, not counted as traffic, have no
unit and no session, and no limit of clients is used up by them. A server can tell them by `_meta["henslowe/replay"]`.
"""

from henslowe.actors.rehearsal.actor import Rehearsal

__all__ = ["Rehearsal"]
