"""How gates stand, for the version machine: read from the table, without a message; asked by one."""

from __future__ import annotations

from henslowe.actors import names
from henslowe.actors.hooks.plan import Configured, of_gate, standing_of
from henslowe.actors.hooks.rows import HookRow
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import AskHooks
from henslowe.actors.versions.gates import Gate, Standing
from henslowe.actors.versions.rows import VersionRow, VersionState
from henslowe.storage import Table


class HookGates:
    """`henslowe.actors.versions.gates.Gates` over the table of hooks. Runs in: the node's loop.

    Args:
        table: Of hooks.
        configured: The node's own hooks and interceptors.
    """

    def __init__(self, table: Table[HookRow], configured: Configured) -> None:
        self._table = table
        self._configured = configured

    def ask(self, gate: Gate, row: VersionRow, *, again: bool) -> Standing:
        """How a gate stands now. One that was not asked is being asked from here on, `again` one that was refused.

        A staged version that was refused has FAILED, once that is heard. Where it has not, it is said again: the node
        may have died in between.
        """
        if not self.guarded(gate, row):
            return Standing.OPEN
        standing = standing_of(self._rows(gate))
        wanted = standing is None or (standing is Standing.CLOSED and again)
        unheard = standing is Standing.CLOSED and row.state is VersionState.STAGED
        if wanted or unheard:
            registry.via(names.HOOKS).cast(AskHooks(gate.version, gate.epoch, gate.point, again=again))
        return Standing.WAITING if standing is None or wanted else standing

    def guarded(self, gate: Gate, row: VersionRow) -> bool:
        """Whether a version has hooks or interceptors at this gate."""
        return bool(self._configured.at((gate.point,), row))

    def round(self, gate: Gate) -> int:
        """Which question about a gate is the last one, counted from 1; of one that was refused, which would be next."""
        rows = self._rows(gate)
        last = max((row.round for row in rows), default=1)
        return last + 1 if standing_of(rows) is Standing.CLOSED else last

    def _rows(self, gate: Gate) -> list[HookRow]:
        version = gate.version
        return of_gate(self._table.by("service", version.service), version.number, gate.epoch, gate.point)
