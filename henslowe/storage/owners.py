"""Who may write a table: one actor by name, fenced by an epoch, with an heir.

    claim = await store.owners.claim(counters, "sampler", heir="sampler-2")
    await counters.insert(row, claim=claim)
    txn = store.transaction(claim=claim)

A table nobody claimed may be written by anybody. A claimed one is protected, as ETS calls it: everybody reads, and
only a transaction that carries the *present* claim writes. Claiming again counts the epoch up, so that whoever held the
table before (an actor that was killed while it waited, and goes on) is refused with `Fenced`, whatever it still has.

Claims are rows of their own: durable tables outlive their owner, and an owner that is restarted claims again. When an
owner ends for good its heir claims the table; while the owner lives it cannot. Nothing is inherited without being
claimed: an heir has to know that it writes now.

Not here: noticing that an owner ended (monitor it), and routing others' writes to it (send it a message).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel

from henslowe.actors.kernel import names
from henslowe.errors import Conflict, Fenced
from henslowe.storage.tablespec import TableSpec

if TYPE_CHECKING:
    from henslowe.storage.cells import TableBase
    from henslowe.storage.tables import Table


class ClaimRow(BaseModel, frozen=True, extra="forbid"):
    """Whose a table is; `owner` is "" where it was given up."""

    table: str
    owner: str
    epoch: int
    heir: str = ""


CLAIMS: Final = TableSpec(name="claims", row_type=ClaimRow, key="table")


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to write one table, until somebody claims it again."""

    table: str
    owner: str
    epoch: int


class Owners:
    """The claims of all tables. Runs in: the loop.

    Args:
        claims: The table of claims.
        is_alive: Whether an actor holds this name now.
    """

    def __init__(
        self, claims: Table[ClaimRow], is_alive: Callable[[str], bool] = lambda name: names.whereis(name) is not None
    ) -> None:
        self._claims = claims
        self._is_alive = is_alive

    async def claim(self, table: TableBase[Any, Any], owner: str, *, heir: str = "") -> Claim:
        """Makes `owner` the only one who writes `table`, from now on and durably on return.

        Args:
            table: Any table or bag of the store.
            owner: A well-known name of an actor.
            heir: Who may claim it when the owner has ended.

        Raises:
            Conflict: Another owner has it and lives, or named another heir; or somebody was faster.
        """
        row = self._claims.latest(table.name)
        if row is not None and row.owner not in ("", owner):
            if row.heir != owner:
                heirs = f"its heir is {row.heir!r}" if row.heir else "it named no heir"
                raise Conflict(
                    f"cannot claim {table.name!r} for {owner!r}: {row.owner!r} owns it, and {heirs}",
                    hint="have the owner give it up",
                    table=table.name,
                )
            if self._is_alive(row.owner):
                raise Conflict(
                    f"cannot claim {table.name!r} for {owner!r}: {row.owner!r} owns it and lives",
                    hint="monitor the owner and claim when it has ended",
                    table=table.name,
                )
        return await self._write(table.name, owner, heir, row)

    async def give_away(self, claim: Claim, owner: str, *, heir: str = "") -> Claim:
        """Makes `owner` the owner instead of the holder of `claim`, which is worth nothing then.

        Raises:
            Fenced: The claim is not the present one.
        """
        self.check(claim.table, claim)
        return await self._write(claim.table, owner, heir, self._claims.latest(claim.table))

    async def give_up(self, claim: Claim) -> None:
        """Lets anybody write the table, and claim it. Raises what `give_away` raises."""
        await self.give_away(claim, "")

    def of(self, table: str) -> ClaimRow | None:
        """Whose `table` is, as committed; None where nobody ever claimed it."""
        return self._claims.lookup(table)

    def check(self, table: str, claim: Claim | None) -> None:
        """Returns only if `claim` may write `table` once everything in flight is committed.

        Raises:
            Fenced: The table is claimed, and not by this.
        """
        row = self._claims.latest(table)
        if row is None or not row.owner:
            return
        if claim is None or claim.table != table:
            raise Fenced(
                f"cannot write {table!r}: {row.owner!r} owns it",
                hint="write with the owner's claim, or ask the owner to",
                table=table,
            )
        if (claim.owner, claim.epoch) != (row.owner, row.epoch):
            raise Fenced(
                f"cannot write {table!r}: expected epoch {row.epoch} of {row.owner!r}, "
                f"got {claim.epoch} of {claim.owner!r}",
                hint="it was claimed again since: stop, or claim it",
                table=table,
            )

    async def _write(self, table: str, owner: str, heir: str, seen: ClaimRow | None) -> Claim:
        epoch = 1 if seen is None else seen.epoch + 1
        # In flight at once: what the last owner submits from here on is refused, before this is on disk.
        await self._claims.insert(ClaimRow(table=table, owner=owner, epoch=epoch, heir=heir))
        return Claim(table, owner, epoch)
