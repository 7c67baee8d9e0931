"""`DuplicateRegistry`: many actors per key, each with a value; for finding and reaching groups of actors.

Unique names, which survive restarts and can be waited for, are in `_names`. Not a bus: there is no history, no
back-pressure and no order between senders.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from ._control_block import DEAD
from ._exits import NOPROC, ActorExit
from ._ref import Ref
from ._reply import lifecycle_lock


class DuplicateRegistry:
    """Keys held by any number of actors. Entries vanish with their actor, before anybody hears of its death.

    All methods may be called from any thread.
    """

    def __init__(self) -> None:
        self._entries: dict[Hashable, list[tuple[Ref, Any]]] = {}
        self._keys: dict[Ref, set[Hashable]] = {}  # also of actors that hold none any more: their death is awaited

    def register(self, key: Hashable, ref: Ref, value: Any = None) -> None:
        """Adds an entry; an actor may have several under one key.

        Raises:
            ActorExit: `NOPROC`: `ref` is dead.
        """
        with lifecycle_lock:
            if ref._state == DEAD:
                raise ActorExit(NOPROC, f"cannot register {key!r}: {ref} is dead")
            if ref not in self._keys:
                self._keys[ref] = set()
                if ref._on_death is None:
                    ref._on_death = []
                ref._on_death.append(lambda: self._forget(ref))
            self._keys[ref].add(key)
            self._entries.setdefault(key, []).append((ref, value))

    def unregister(self, key: Hashable, ref: Ref, matches: Callable[[Any], bool] | None = None) -> None:
        """Removes the actor's entries under `key`, all or those whose value `matches`. Nothing to do is fine."""
        with lifecycle_lock:
            kept = [
                entry
                for entry in self._entries.get(key, ())
                if entry[0] is not ref or (matches is not None and not matches(entry[1]))
            ]
            if kept:
                self._entries[key] = kept
            else:
                self._entries.pop(key, None)
            if ref in self._keys and not any(holder is ref for holder, _ in kept):
                self._keys[ref].discard(key)

    def lookup(self, key: Hashable) -> tuple[tuple[Ref, Any], ...]:
        """The living holders with their values, in order of registration."""
        with lifecycle_lock:
            return tuple(entry for entry in self._entries.get(key, ()) if entry[0]._state != DEAD)

    def keys(self, ref: Ref) -> frozenset[Hashable]:
        """The keys that the actor holds."""
        with lifecycle_lock:
            return frozenset(self._keys.get(ref, ())) if ref._state != DEAD else frozenset()

    def count(self) -> int:
        """The number of entries."""
        with lifecycle_lock:
            return sum(len(entries) for entries in self._entries.values())

    def dispatch(self, key: Hashable, deliver: Callable[[Ref, Any], Any]) -> int:
        """Calls `deliver(ref, value)` for each holder, outside of any lock. Returns how many there were."""
        entries = self.lookup(key)
        for ref, value in entries:
            deliver(ref, value)
        return len(entries)

    def cast(self, key: Hashable, message: Any) -> int:
        """Casts to each holder. Returns how many there were."""
        return self.dispatch(key, lambda ref, _: ref.cast(message))

    def _forget(self, ref: Ref) -> None:
        with lifecycle_lock:
            for key in tuple(self._keys.get(ref, ())):
                self.unregister(key, ref)
            self._keys.pop(ref, None)
