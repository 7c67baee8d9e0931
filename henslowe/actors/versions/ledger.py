"""The version machine's tables as its actor uses them: the rows of a service, a transition in one commit, the outbox.

What a transition is, the pure machine says; when it may happen, the actor.
"""

from __future__ import annotations

import logging
from typing import Any

from henslowe.actors import failpoints
from henslowe.actors.endpoints import Contract
from henslowe.actors.ids import ServiceName
from henslowe.actors.messages import InstanceUp, VersionBuilt
from henslowe.actors.versions.change import State, Transition
from henslowe.actors.versions.contracts import CONTRACTS, ContractRow, unneeded
from henslowe.actors.versions.line import LineChange
from henslowe.actors.versions.pending import PENDING, PendingRow, began, ended, overtaken, refused_by_hooks
from henslowe.actors.versions.rows import LINE, OUTBOX, SERVICES, VERSIONS, OutboxRow
from henslowe.actors.vocabulary import Status
from henslowe.errors import LimitReached, StorageError
from henslowe.storage import Store, Transaction

log = logging.getLogger("henslowe.versions")


class Ledger:
    """Reads and writes what the version machine owns. Runs in: the loop.

    Args:
        store: Has the tables.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.services = store.table(SERVICES)
        self.versions = store.table(VERSIONS)
        self.outbox = store.table(OUTBOX)
        self.line = store.table(LINE)
        self.pending = store.table(PENDING)
        self._contracts = store.table(CONTRACTS)

    def state_of(self, name: ServiceName) -> State:
        """The rows of one service."""
        return State(self.services.lookup(name), {row.number: row for row in self.versions.by("service", name)})

    def active_contract(self, state: State) -> Contract | None:
        """What the active version offers, where that is known."""
        active = state.versions.get(state.service.active) if state.service is not None else None
        row = self._contracts.lookup((active.service, active.contract_digest)) if active is not None else None
        return row.contract if row is not None else None

    async def commit(self, name: ServiceName, message: Any, result: Transition) -> None:
        """Rows, events, effects and contracts of a transition, all or nothing; returns once they are durable.

        A command that waited for hooks ends in the same commit if this is what it said, or leaves it nothing to do.

        Raises:
            StorageError, LimitReached: Nothing of it is stored.
        """
        txn = self._store.transaction()
        if result.service is not None:
            txn.put(self.services, result.service)
        for row in result.versions:
            txn.put(self.versions, row)
        for number in result.removed:
            txn.delete(self.versions, (name, number))
        self._keep_contracts(txn, name, message, result)
        for effect in result.effects:
            txn.put(self.outbox, effect)
        for event in result.events:
            txn.append(event)
        self._settle(txn, name, message, result)
        await self._durable(txn)

    async def keep_pending(self, row: PendingRow) -> None:
        """Writes down that a command waits, instead of the one that waited before. Raises what `commit` raises."""
        before = self.pending.lookup(row.service)
        if before is not None and (before.gate, before.round, before.command) == (row.gate, row.round, row.command):
            return
        txn = self._store.transaction()
        txn.put(self.pending, row)
        if before is not None and before.gate == row.gate and before.round < row.round:
            txn.append(ended(before, Status.FAILED, refused_by_hooks(before)))
        elif before is not None and before.command != row.command:
            txn.append(ended(before, Status.CANCELLED, f"{row.command.by} said {row.command.action.value} instead"))
        txn.append(began(row))
        await self._durable(txn)

    async def end_pending(self, row: PendingRow, status: Status, why: str) -> None:
        """Ends a command that will not be done, and says so. Raises what `commit` raises."""
        txn = self._store.transaction()
        txn.delete(self.pending, row.service)
        txn.append(ended(row, status, why))
        await self._durable(txn)

    def _settle(self, txn: Transaction, name: ServiceName, message: Any, result: Transition) -> None:
        row = self.pending.lookup(name)
        if row is None:
            return
        if message == row.command:
            txn.delete(self.pending, name)
        elif why := overtaken(row, result.state):
            txn.delete(self.pending, name)
            txn.append(ended(row, Status.CANCELLED, why))

    async def commit_line(self, change: LineChange) -> None:
        """The row of the line with its event. Raises what `commit` raises."""
        if change.event is not None:
            txn = self._store.transaction()
            txn.put(self.line, change.row)
            txn.append(change.event)
            await self._durable(txn)

    async def clear(self, done: list[OutboxRow]) -> bool:
        """Crosses effects off the outbox that were performed; whether storage took it."""
        stored = [effect for effect in done if self.outbox.member(OUTBOX.key_of(effect))]
        if not stored:
            return True
        txn = self._store.transaction()
        for effect in stored:
            txn.delete(self.outbox, OUTBOX.key_of(effect))
        failpoints.reach("versions.before_clear")
        try:
            await txn.commit()
        except (StorageError, LimitReached) as error:
            log.warning("outbox_not_cleared reason=%s", error)
            return False
        failpoints.reach("versions.cleared")
        return True

    async def _durable(self, txn: Transaction) -> None:
        failpoints.reach("versions.before_commit")
        await txn.commit()
        failpoints.reach("versions.committed")

    def _keep_contracts(self, txn: Transaction, name: ServiceName, message: Any, result: Transition) -> None:
        """A contract lives as long as a version of its service has it."""
        if isinstance(message, VersionBuilt | InstanceUp) and any(
            row.contract_digest == message.contract.digest for row in result.versions
        ):
            row = ContractRow.of(name, message.contract)
            if row.digest and not self._contracts.member((name, row.digest)):
                txn.put(self._contracts, row)
        if result.removed:
            kept = [(row.service, row.digest) for row in self._contracts.rows()]
            for key in unneeded(kept, name, list(result.state.versions.values())):
                txn.delete(self._contracts, key)
