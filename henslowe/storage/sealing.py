"""Values encrypted at rest, each bound to the one place where it lies.

    sealed = key id (4 bytes) | nonce (12 bytes) | AES-256-GCM ciphertext and tag

What is authenticated beside the value is its place: table, key of the row, field and schema. A sealed value that
was moved to another row, field or table does not open, and neither does one of which a bit changed.

`Secret` is the type of such a field in a row: it says `***` wherever it is shown, and is sealed when its row is
written.

Not here: where keys come from (`keyfile`) and secrets by name (`secrets`).
"""

from __future__ import annotations

import hashlib
import hmac
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final, NoReturn, Protocol, get_args

from msgpack import ExtType
from pydantic import BaseModel, GetCoreSchemaHandler
from pydantic_core import CoreSchema, core_schema

from henslowe.errors import Corrupt, StorageError

KEY_BYTES: Final = 32
HIDDEN: Final = "***"
"""What is shown instead of a secret."""
_SEALED: Final = 0x53
"""Number of msgpack's extension type for a sealed field."""
_ID_BYTES: Final = 4
_NONCE_BYTES: Final = 12
"""Random: with one key, a billion values have a chance of one in 10^11 to repeat any (NIST SP 800-38D, 8.3)."""
_TAG_BYTES: Final = 16
_CONTEXT: Final = b"henslowe sealed 1"


class Secret:
    """A text that must not be seen by chance: shown as `***`, never pickled, sealed in a stored row."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def reveal(self) -> str:
        """The text, for the one who needs it."""
        return self._text

    def __repr__(self) -> str:
        return HIDDEN

    __str__ = __repr__

    def __format__(self, _: str) -> str:
        return HIDDEN

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Secret):
            return NotImplemented
        return hmac.compare_digest(
            self._text.encode("utf-8", "surrogatepass"), other._text.encode(errors="surrogatepass")
        )

    def __hash__(self) -> int:
        return hash(self._text)

    def __reduce__(self) -> NoReturn:
        raise TypeError("cannot pickle a secret: hand over its name instead")

    @classmethod
    def __get_pydantic_core_schema__(cls, _source: Any, _handler: GetCoreSchemaHandler) -> CoreSchema:
        made = core_schema.no_info_after_validator_function(cls, core_schema.str_schema())
        return core_schema.json_or_python_schema(
            json_schema=made,
            python_schema=core_schema.union_schema([core_schema.is_instance_schema(cls), made]),
            serialization=core_schema.plain_serializer_function_ser_schema(lambda _: HIDDEN, when_used="json"),
        )


@dataclass(frozen=True, slots=True)
class Place:
    """Where a sealed value lies; it opens nowhere else."""

    table: str
    key: bytes
    schema: int
    field: str = ""

    def __bytes__(self) -> bytes:
        parts = (_CONTEXT, self.table.encode(), self.key, self.field.encode(), str(self.schema).encode())
        # Each with its length: no two places have the same bytes.
        return b"".join(len(part).to_bytes(4, "big") + part for part in parts)


class Sealer(Protocol):
    """Seals and opens; `Keys` is one."""

    def seal(self, text: str, place: Place) -> bytes:
        """The text as it is stored at `place`."""
        ...

    def open(self, sealed: bytes, place: Place) -> str:
        """The text that was sealed for `place`."""
        ...


@dataclass(frozen=True, slots=True, repr=False)
class Keys:
    """AES-256 keys by id: the first one seals, all of them open."""

    keys: tuple[bytes, ...]

    @property
    def current(self) -> str:
        """Id of the key that seals."""
        return id_of(self.keys[0]).hex()

    @property
    def ids(self) -> tuple[str, ...]:
        """Ids of all keys, the current one first."""
        return tuple(id_of(key).hex() for key in self.keys)

    def seal(self, text: str, place: Place) -> bytes:
        """The text as it is stored at `place`."""
        nonce = os.urandom(_NONCE_BYTES)
        sealed = _cipher(self.keys[0]).encrypt(nonce, text.encode("utf-8", "surrogatepass"), bytes(place))
        return id_of(self.keys[0]) + nonce + bytes(sealed)

    def open(self, sealed: bytes, place: Place) -> str:
        """The text that was sealed for `place`.

        Raises:
            StorageError: Its key is none of these.
            Corrupt: It was changed, or sealed for another place.
        """
        from cryptography.exceptions import InvalidTag

        where = f"{place.table}/{place.field or 'value'}"
        key = next((key for key in self.keys if id_of(key) == sealed[:_ID_BYTES]), None)
        if len(sealed) < _ID_BYTES + _NONCE_BYTES + _TAG_BYTES:
            raise Corrupt(f"cannot open the sealed value in {where}: it is cut short")
        if key is None:
            raise StorageError(
                f"cannot open the sealed value in {where}: expected key {key_id(sealed)}, got {', '.join(self.ids)}",
                hint="bring back the key file that it was sealed with, or set the secret anew",
            )
        nonce, ciphertext = sealed[_ID_BYTES : _ID_BYTES + _NONCE_BYTES], sealed[_ID_BYTES + _NONCE_BYTES :]
        try:
            opened: bytes = _cipher(key).decrypt(nonce, ciphertext, bytes(place))
        except InvalidTag as error:
            raise Corrupt(
                f"cannot open the sealed value in {where}: it was changed, or moved here from another place",
                hint="restore the data directory from a backup, or set the secret anew",
            ) from error
        return opened.decode("utf-8", "surrogatepass")


class NoKeys:
    """For those who may not see secrets: a reader in another process, rows in the cache."""

    def seal(self, text: str, place: Place) -> bytes:  # noqa: ARG002 - a Sealer
        """Raises: StorageError."""
        raise StorageError(f"cannot seal a secret of {place.table!r}: no keys are at hand here")

    def open(self, sealed: bytes, place: Place) -> str:  # noqa: ARG002 - a Sealer
        """What is shown instead."""
        return HIDDEN


NO_KEYS: Final = NoKeys()


class Aside:
    """Holds secrets while the fields around them are turned into plain data: seals nothing, stores nothing."""

    def __init__(self) -> None:
        self._texts: list[str] = []

    def seal(self, text: str, place: Place) -> bytes:  # noqa: ARG002 - a Sealer
        """A number in place of the text."""
        self._texts.append(text)
        return len(self._texts).to_bytes(8, "big")

    def open(self, sealed: bytes, place: Place) -> str:  # noqa: ARG002 - a Sealer
        """The text again."""
        return self._texts[int.from_bytes(sealed, "big") - 1]


def id_of(key: bytes) -> bytes:
    """A key's id: says which key, and nothing about it."""
    return hashlib.sha256(b"henslowe key id" + key).digest()[:_ID_BYTES]


def key_id(sealed: bytes) -> str:
    """Id of the key that a value was sealed with."""
    return sealed[:_ID_BYTES].hex()


def has_secrets(model: type[BaseModel]) -> bool:
    """Whether a row of this type may hold a `Secret`, at any depth."""
    return _has_secrets(model)


@cache
def _has_secrets(model: type[BaseModel]) -> bool:
    return _mentions(model, set())


def hidden(value: Any) -> Any:
    """Stored data as it may be shown: `***` in place of what is sealed."""
    if isinstance(value, ExtType):
        return HIDDEN
    if isinstance(value, dict):
        return {key: hidden(inner) for key, inner in value.items()}
    return [hidden(inner) for inner in value] if isinstance(value, list) else value


def seal_fields(fields: Mapping[str, Any], sealer: Sealer, place: Place) -> dict[str, Any]:
    """The fields with every secret in them sealed for its own place in the row."""

    def sealed(value: Any, path: str) -> Any:
        if not isinstance(value, Secret):
            return value
        return ExtType(_SEALED, sealer.seal(value.reveal(), Place(place.table, place.key, place.schema, path)))

    return {name: _each(value, name, sealed) for name, value in fields.items()}


def open_fields(fields: Mapping[str, Any], sealer: Sealer, place: Place) -> dict[str, Any]:
    """The fields with every sealed value in them as a `Secret`. Raises what `Sealer.open` raises."""

    def opened(value: Any, path: str) -> Any:
        if not isinstance(value, ExtType) or value.code != _SEALED:
            return value
        return Secret(sealer.open(value.data, Place(place.table, place.key, place.schema, path)))

    return {name: _each(value, name, opened) for name, value in fields.items()}


def key_ids(value: Any) -> set[str]:
    """Ids of the keys of all sealed values in the decoded fields of a record."""
    found: set[str] = set()

    def noted(value: Any, _: str) -> Any:
        if isinstance(value, ExtType) and value.code == _SEALED:
            found.add(key_id(value.data))
        return value

    _each(value, "", noted)
    return found


def _each(value: Any, path: str, change: Callable[[Any, str], Any]) -> Any:
    """`change` applied to every leaf, with the path to it."""
    if isinstance(value, ExtType):  # a tuple, too
        return change(value, path)
    if isinstance(value, dict):
        return {name: _each(inner, f"{path}.{name}", change) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_each(item, f"{path}.{at}", change) for at, item in enumerate(value)]
    return change(value, path)


def _mentions(annotation: Any, seen: set[Any]) -> bool:
    if annotation is Secret:
        return True
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        if annotation in seen:
            return False
        seen.add(annotation)
        return any(_mentions(field.annotation, seen) for field in annotation.model_fields.values())
    return any(_mentions(argument, seen) for argument in get_args(annotation))


def _cipher(key: bytes) -> Any:
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    return AESGCM(key)
