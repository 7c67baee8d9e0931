"""Shared context: CRDT documents by namespace, kept on disk as a log of updates.

A document is one flat map from path to value (`"a/b/c"` is a name, not a place): two nodes that create things under the
same path at the same time then overwrite one value, never a whole subtree. The last writer of a path wins, everywhere
the same.

    doc = store.context.open("project")
    await doc.set("owner", "ada")              # durable here
    update = doc.diff(other.state_vector())    # what another node lacks
    await other.merge(update)                  # in any order, any number of times

Values are stored as bytes: inside a document, pycrdt turns the ints of a dict into floats. Slow shared facts only:
every deleted path leaves a trace for ever. Touched by the loop alone; pycrdt documents belong to one thread.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from typing import Any, Final

import pycrdt

from henslowe.errors import Corrupt, LimitReached, StorageError
from henslowe.storage import codec, keys
from henslowe.storage.env import Environment
from henslowe.storage.transaction import Transaction

DB_NAME: Final = "context"
NAMESPACES_MAX: Final = 1_024
VALUE_BYTES_MAX: Final = 64 << 10
COMPACT_AFTER_UPDATES: Final = 128
"""Updates in the log after which one record of the whole document replaces them."""

_SCHEMA: Final = 1
_ROOT: Final = "values"
_CLIENT_ID_BITS: Final = 53
"""The widest id that Yjs in a browser represents exactly."""


class ContextDoc:
    """One namespace. Reading is immediate; what `set` and `merge` changed is durable when they return."""

    def __init__(
        self, namespace: str, client_id: int, log: dict[int, bytes], new_transaction: Callable[[], Transaction]
    ) -> None:
        self.namespace = namespace
        self._transaction = new_transaction
        self._doc: pycrdt.Doc[Any] = pycrdt.Doc(client_id=client_id)
        self._values: pycrdt.Map[bytes] = self._doc.get(_ROOT, type=pycrdt.Map)
        for update in log.values():
            self._apply(update)
        self._log = sorted(log)
        self._next = max(log, default=0) + 1
        self._unsaved: list[bytes] = []
        self._listeners: list[Callable[[bytes], None]] = []
        # Held, because dropping the subscription ends it.
        self._subscription = self._doc.observe(self._changed)

    # -- reading ----------------

    def get(self, path: str, default: Any = None) -> Any:
        """The value at `path`, else `default`."""
        packed = self._values.get(path)
        return default if packed is None else self._unpacked(path, packed)

    def snapshot(self) -> dict[str, Any]:
        """All values by path, in order of the paths."""
        return {path: self._unpacked(path, self._values[path]) for path in sorted(self._values.keys())}

    def state_vector(self) -> bytes:
        """What this document has seen, for another one's `diff`."""
        return bytes(self._doc.get_state())

    def diff(self, state_vector: bytes = b"\x00") -> bytes:
        """The update that a document with `state_vector` lacks; the whole document for an empty one."""
        try:
            return bytes(self._doc.get_update(state_vector))
        except ValueError as error:
            raise StorageError(f"cannot read a state vector of {len(state_vector)} bytes: {error}") from error

    # -- writing ----------------

    async def set(self, path: str, value: Any) -> None:
        """Puts `value` (what msgpack can hold) at `path`: readable at once, durable on return.

        Raises:
            LimitReached: The value has more than 64 KiB.
            StorageDegraded: The disk refused; the value is readable, and saved with the next change.
        """
        encoded = codec.encode(value)
        if len(encoded) > VALUE_BYTES_MAX:
            raise LimitReached(
                f"cannot set {path!r:.80}: expected at most {VALUE_BYTES_MAX} bytes, got {len(encoded)}",
                hint="put the content into the archive and its digest into the context",
            )
        self._values[path] = encoded
        await self.save()

    async def delete(self, path: str) -> None:
        """Removes the value at `path`, if any."""
        if path in self._values:
            del self._values[path]
        await self.save()

    async def merge(self, update: bytes) -> bool:
        """Takes in another document's `update`; whether it brought anything new. Order and repetition do not matter.

        Raises:
            StorageError: The bytes are not an update.
        """
        seen = len(self._unsaved)
        try:
            self._apply(update)
        except Corrupt as error:
            raise StorageError(f"cannot merge into {self.namespace!r}: {error.message}") from error
        changed = len(self._unsaved) > seen
        await self.save()
        return changed

    def on_change(self, callback: Callable[[bytes], None]) -> Callable[[], None]:
        """Calls `callback` with the update of every change, own or merged; returns what ends that."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback) if callback in self._listeners else None

    async def save(self) -> None:
        """Makes durable what is not yet."""
        if not self._unsaved:
            return
        updates, self._unsaved = self._unsaved, []
        number, self._next = self._next, self._next + 1
        txn = self._transaction()
        replaced: list[int] = []
        if len(self._log) >= COMPACT_AFTER_UPDATES:
            # The document holds everything, those updates in flight included.
            replaced, body = self._log, bytes(self._doc.get_update())
        else:
            body = updates[0] if len(updates) == 1 else bytes(pycrdt.merge_updates(*updates))
        key = keys.pack((self.namespace, number))
        txn.write(DB_NAME, key, codec.seal(key, _SCHEMA, body))
        for old in replaced:
            txn.write(DB_NAME, keys.pack((self.namespace, old)), None)
        self._log = [*self._log[len(replaced) :], number]
        try:
            await txn.commit()
        except BaseException:
            self._unsaved = [*updates, *self._unsaved]
            self._log = sorted({*replaced, *self._log} - {number})
            raise

    def _unpacked(self, path: str, packed: object) -> Any:
        if not isinstance(packed, bytes | bytearray):
            raise Corrupt(
                f"cannot read {path!r:.80} in {self.namespace!r}: expected packed bytes, got {type(packed).__name__}",
                hint="set it again, and look for a peer that is no Henslowe",
            )
        return codec.decode(bytes(packed))

    def _apply(self, update: bytes) -> None:
        try:
            self._doc.apply_update(update)
        except (ValueError, RuntimeError) as error:
            raise Corrupt(f"cannot apply an update of {len(update)} bytes: {error}") from error

    def _changed(self, event: Any) -> None:
        update = bytes(event.update)
        self._unsaved.append(update)
        for listener in tuple(self._listeners):
            listener(update)


class ContextStore:
    """The documents of one node, opened when first asked for."""

    def __init__(self, env: Environment, new_transaction: Callable[[], Transaction]) -> None:
        self._env = env
        self._transaction = new_transaction
        self._docs: dict[str, ContextDoc] = {}
        # A client id must never be used by two lives: numbers of updates would repeat with other content.
        self._client_id = secrets.randbits(_CLIENT_ID_BITS)
        env.db(DB_NAME)

    def open(self, namespace: str) -> ContextDoc:
        """The document of `namespace`, read from disk at first.

        Raises:
            LimitReached: 1,024 namespaces are open.
            Corrupt: A record of it is damaged.
        """
        found = self._docs.get(namespace)
        if found is None:
            if len(self._docs) >= NAMESPACES_MAX:
                raise LimitReached(f"cannot open context {namespace!r}: {NAMESPACES_MAX} are open")
            found = ContextDoc(namespace, self._client_id, self._read(namespace), self._transaction)
            self._docs[namespace] = found
        return found

    def namespaces(self) -> list[str]:
        """All namespaces on disk or open, sorted."""
        known = set(self._docs)
        with self._env.read() as txn:
            cursor = txn.cursor(db=self._env.db(DB_NAME))
            more = cursor.first()
            while more:
                namespace = _parse(cursor.key())[0]
                known.add(namespace)
                more = cursor.set_range(keys.prefix_bounds((namespace,))[1])
        return sorted(known)

    def _read(self, namespace: str) -> dict[int, bytes]:
        first, end = keys.prefix_bounds((namespace,))
        log: dict[int, bytes] = {}
        with self._env.read() as txn:
            cursor = txn.cursor(db=self._env.db(DB_NAME))
            more = cursor.set_range(first)
            while more and cursor.key() < end:
                log[_parse(cursor.key())[1]] = codec.unseal(*cursor.item())[1]
                more = cursor.next()
        return log


def _parse(packed: bytes) -> tuple[str, int]:
    match keys.unpack(packed):
        case (str(namespace), int(number)):
            return namespace, number
    raise Corrupt(f"cannot read the context log: {packed[:40]!r} is not one of its keys")
