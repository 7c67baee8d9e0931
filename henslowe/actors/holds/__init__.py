"""Versions that run because somebody still uses them: clients of a version range, tasks that are under way.

`keeper` is the actor. Which version a range means is `henslowe.actors.versions.ranges`'.
"""

from henslowe.actors.holds.keeper import HoldKeeper

__all__ = ["HoldKeeper"]
