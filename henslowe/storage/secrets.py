"""Secrets by name: what services are given at their start and nobody is shown.

    await store.secrets.set("github-token", Secret("..."), by="ada")
    store.secrets.resolve({"TOKEN": "secret:github-token"})

A row holds the sealed value, also in memory: it is opened for the moment in which it is handed over. Names are no
secrets: they stand in events, listings and configuration.

Not here: secrets in the rows of other tables (`sealing.Secret` as the type of a field), and renewing keys (`rotation`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Final

from pydantic import BaseModel

from henslowe.config.references import REFERENCE, SECRET_NAME
from henslowe.errors import BadRequest, LimitReached, NotFound
from henslowe.storage import keys
from henslowe.storage.events import EventDraft
from henslowe.storage.sealing import Place, Secret, key_id
from henslowe.storage.tables import Table
from henslowe.storage.tablespec import TableSpec
from henslowe.storage.transaction import Transaction
from henslowe.storage.vault import Vault

VALUE_BYTES_MAX: Final = 32 * 1024
"""Room for a key with its chain of certificates; and a variable of a process has 128 KiB."""
SECRETS_MAX: Final = 10_000
SET: Final = "SECRET_SET"
REMOVED: Final = "SECRET_REMOVED"
"""Events; `henslowe.actors.vocabulary` describes them."""


class SecretRow(BaseModel, frozen=True, extra="forbid"):
    """One secret, sealed for its name. Times are Unix seconds."""

    name: str
    sealed: bytes
    created_s: float
    changed_s: float
    by: str
    """Who set it last."""

    @property
    def key_id(self) -> str:
        """Id of the key that it is sealed with."""
        return key_id(self.sealed)


SECRETS: Final = TableSpec(name="secrets", row_type=SecretRow, key="name", rows_max=SECRETS_MAX)


def place_of(name: str) -> Place:
    """Where a secret lies: its value opens nowhere else."""
    return Place(SECRETS.name, keys.pack(name), SECRETS.schema, "sealed")


def references(values: Mapping[str, str]) -> list[str]:
    """Names of the secrets that variables or headers refer to, sorted."""
    found = (REFERENCE.fullmatch(value) for value in values.values())
    return sorted({match[2] for match in found if match})


class SecretStore:
    """The secrets of one store. Writes in the loop, reads in any thread."""

    def __init__(self, table: Table[SecretRow], vault: Vault, new_transaction: Callable[[], Transaction]) -> None:
        self._table = table
        self._vault = vault
        self._transaction = new_transaction

    def rows(self) -> tuple[SecretRow, ...]:
        """All secrets, sealed, by name."""
        return tuple(sorted(self._table.rows(), key=lambda row: row.name))

    async def set(self, name: str, value: Secret, *, by: str) -> SecretRow:
        """Keeps `value` under `name`, in place of what was there; durable on return.

        Raises:
            BadRequest: The name is none, or the value is empty or has a NUL, which no variable can hold.
            LimitReached: The value is longer than 32 KiB, or there are 10,000 secrets.
            ConfigError, NotFound, StorageError: There is no key that may be used.
        """
        if not SECRET_NAME.fullmatch(name):
            raise BadRequest(
                f"expected a name of letters, digits, '_', '.' and '-', at most 100, got: {name!r:.120}",
                hint="henslowe secrets set github-token",
            )
        text = value.reveal()
        if not text or "\0" in text:
            raise BadRequest(f"cannot set secret {name!r}: expected a text without NUL, got {_kind_of(text)}")
        if len(text.encode("utf-8", "surrogatepass")) > VALUE_BYTES_MAX:
            raise LimitReached(f"cannot set secret {name!r}: expected at most {VALUE_BYTES_MAX} bytes")
        before, now_s = self._table.latest(name), time.time()
        row = SecretRow(
            name=name,
            sealed=self._vault.seal(text, place_of(name)),
            created_s=before.created_s if before is not None else now_s,
            changed_s=now_s,
            by=by,
        )
        txn = self._transaction()
        txn.put(self._table, row)
        txn.append(EventDraft("lifecycle", SET, "SUCCESS", data={"secret": name, "by": by, "new": before is None}))
        await txn.commit()
        return row

    async def remove(self, name: str, *, by: str) -> None:
        """Removes the secret `name`.

        Raises:
            NotFound: There is none.
        """
        if self._table.latest(name) is None:
            raise self._missing(name)
        txn = self._transaction()
        txn.delete(self._table, name)
        txn.append(EventDraft("lifecycle", REMOVED, "SUCCESS", data={"secret": name, "by": by}))
        await txn.commit()

    def reveal(self, name: str) -> str:
        """The value of a secret.

        Raises:
            NotFound: There is none of that name, or its key file is gone.
            ConfigError, StorageError, Corrupt: It cannot be opened.
        """
        row = self._table.lookup(name)
        if row is None:
            raise self._missing(name)
        return self._vault.open(row.sealed, place_of(name))

    def resolve(self, values: Mapping[str, str]) -> dict[str, str]:
        """Variables or headers with every reference replaced by its secret. Raises what `reveal` raises."""
        found = {name: (value, REFERENCE.fullmatch(value)) for name, value in values.items()}
        return {
            name: value if match is None else match[1] + self.reveal(match[2]) for name, (value, match) in found.items()
        }

    def _missing(self, name: str) -> NotFound:
        return NotFound(f"cannot find secret {name!r}", hint=f"henslowe secrets set {name}", secret=name)


def _kind_of(text: str) -> str:
    return "one with it" if text else "nothing"
