"""What has come to a gate: reports of instances and of the router in memory, the commands of people as rows.

Who reported something reports it again, and the latest word of each kind counts, so that what is lost with the actor
comes again by itself. A person does not say it twice: `henslowe.actors.versions.pending`.

Not here: which gates there are and how they stand (`gates`), and doing what waited once one opens (`actor`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from henslowe.actors.ids import ServiceName
from henslowe.actors.messages import Command
from henslowe.actors.versions.change import State, Transition
from henslowe.actors.versions.gates import Gate, Gates, Standing, gates_of, skipped
from henslowe.actors.versions.ledger import Ledger
from henslowe.actors.versions.pending import PendingRow, overtaken, refused_by_hooks
from henslowe.actors.vocabulary import Status
from henslowe.storage import EventDraft


@dataclass(slots=True, frozen=True)
class Ended:
    """Why a command that waited will not be done."""

    status: Status
    why: str


class Gatekeeper:
    """Stops transitions at gates that are not open, and keeps what waits there. Runs in: the loop.

    Args:
        gates: Who knows how they stand.
        ledger: Has the commands that wait.
    """

    def __init__(self, gates: Gates, ledger: Ledger) -> None:
        self._gates = gates
        self._ledger = ledger
        self._reports: dict[ServiceName, tuple[Gate, dict[type, Any]]] = {}
        """The gate that a service has come to, and what was reported that waits behind it, the latest of each kind."""

    def stop(self, message: Any, state: State, result: Transition) -> Gate | None:
        """The gate at which a transition has to stop, None for none. A report waits there from now on."""
        by_person = isinstance(message, Command)
        for gate in gates_of(state, result.state):
            pending = None if by_person else self._ledger.pending.lookup(gate.version.service)
            if pending is not None and pending.key == gate.version:
                # A person leads this version on: what it does by itself waits, and comes to nothing then.
                self.keep(pending.gate, message)
                return gate
            standing = self._gates.ask(gate, state.versions[gate.version.number], again=by_person)
            if standing is Standing.WAITING and not by_person:
                self.keep(gate, message)
            if standing is not Standing.OPEN:
                return gate
        return None

    def skipped(self, message: Command, state: State, result: Transition) -> tuple[EventDraft, ...]:
        """The event that a command goes through gates without asking; none where nobody would have been asked."""
        gates = [
            gate
            for gate in gates_of(state, result.state)
            if self._gates.guarded(gate, state.versions[gate.version.number])
        ]
        return (skipped(gates, message),) if gates else ()

    def pending(self, gate: Gate, message: Command, now_s: float) -> PendingRow:
        """The row of a command that was stopped at a gate."""
        return PendingRow.of(gate, message, now_s, self._gates.round(gate))

    def keep(self, gate: Gate, message: Any) -> None:
        """Has a report wait at a gate. What waited at another one is forgotten: the service has gone on since."""
        at, reports = self._reports.get(gate.version.service, (gate, {}))
        kept = reports if at == gate else {}
        self._reports[gate.version.service] = gate, {**kept, type(message): message}

    def take(self, gate: Gate) -> list[Any]:
        """The reports that waited at a gate, in order, which wait no more: it is open, or was refused."""
        at, reports = self._reports.get(gate.version.service, (None, {}))
        if at != gate:
            return []
        del self._reports[gate.version.service]
        return list(reports.values())

    def standing(self, row: PendingRow, state: State) -> Standing | Ended:
        """How the gate stands at which a command waits, or why there is no waiting any more."""
        if why := overtaken(row, state):
            return Ended(Status.CANCELLED, why)
        version = state.versions[row.version]
        standing = self._gates.ask(row.gate, version, again=False)
        if standing is not Standing.CLOSED:
            return standing
        if self._gates.round(row.gate) > row.round:
            return Ended(Status.FAILED, refused_by_hooks(row))
        # The last life ended before they were asked again.
        return self._gates.ask(row.gate, version, again=True)
