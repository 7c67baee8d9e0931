"""The keys of one store, at hand when something is to be sealed or opened.

Read at first need, so that a node without secrets needs no key file; made at first need, but never when something
sealed is there already: then the file that is missing must be found.

Not here: the file itself (`keyfile`), what is sealed (`sealing`), and renewing keys (`rotation`).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Final

from henslowe.errors import NotFound
from henslowe.storage.keyfile import VARIABLE, KeyFile
from henslowe.storage.sealing import Keys, Place

_LOST: Final = f"bring it back to its place, or set storage.secret_key_file (or {VARIABLE}) to where it is"


class Vault:
    """Seals and opens with the keys of one store. Runs in: any thread.

    Args:
        file: Where the keys are.
        used: Whether something sealed is in the store.
    """

    def __init__(self, file: Callable[[], KeyFile], used: Callable[[], bool]) -> None:
        self._find = file
        self._used = used
        self._keys: Keys | None = None
        self._guard = threading.Lock()

    @property
    def file(self) -> KeyFile:
        """Where the keys are, or would be made."""
        return self._find()

    def keys(self) -> Keys:
        """The keys, read or made now if need be.

        Raises:
            ConfigError: The file may be read by others, lies in the data directory, or has no keys in it.
            NotFound: It is gone, and something was sealed with it.
            StorageError: It cannot be read or made.
        """
        with self._guard:
            if self._keys is None:
                file = self.file
                self._keys = file.read()
                if self._keys is None and (self._used() or not file.ours):
                    raise self._lost()
                if self._keys is None:
                    self._keys = file.make()
            return self._keys

    def found(self) -> Keys | None:
        """The keys if there are any; none are made. Raises what `keys` raises for a file that may not be used."""
        with self._guard:
            if self._keys is None:
                self._keys = self.file.read()
            return self._keys

    def replace(self, keys: Keys | None) -> None:
        """Takes these keys from now on; None reads the file again when they are needed."""
        with self._guard:
            self._keys = keys

    def seal(self, text: str, place: Place) -> bytes:
        """The text as it is stored at `place`. Raises what `keys` raises."""
        return self.keys().seal(text, place)

    def open(self, sealed: bytes, place: Place) -> str:
        """The text that was sealed for `place`. Raises what `keys` and `Keys.open` raise."""
        keys = self.found()
        if keys is None:
            raise self._lost()
        return keys.open(sealed, place)

    def _lost(self) -> NotFound:
        return NotFound(f"cannot find the key file of the secrets: no {self.file.path}", hint=_LOST)
