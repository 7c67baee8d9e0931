"""Named places at which a proof lets the process die: between a commit and its effects, between two effects, and so on.

    failpoints.reach("versions.committed")      # in the code: nothing happens
    failpoints.arm("versions.committed", die)   # in a proof: `die` is called there, each time

Nothing in a node arms one. A name is a promise to the proofs that use it (`bench/delivery_proof/failpoints.py`); all of
them are listed in `ALL`.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

ALL: Final = (
    "versions.before_commit",
    "versions.committed",
    "versions.before_effect",
    "versions.after_effect",
    "versions.before_clear",
    "versions.cleared",
    "hooks.written",
    "hooks.answered",
    "hooks.concluded",
    "release.staged",
    "release.prepared",
    "release.released",
)

_armed: dict[str, Callable[[], None]] = {}


def reach(name: str) -> None:
    """Says that the place was reached."""
    if _armed and (action := _armed.get(name)) is not None:
        action()


def arm(name: str, action: Callable[[], None]) -> None:
    """Has `action` called whenever the place is reached.

    Raises:
        ValueError: There is no such place.
    """
    if name not in ALL:
        raise ValueError(f"expected one of {', '.join(ALL)}, got {name!r}")
    _armed[name] = action


def disarm() -> None:
    """Forgets all actions."""
    _armed.clear()
