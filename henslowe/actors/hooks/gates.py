"""How gates stand, for the version machine: read from the table, without a message; asked by one."""

from __future__ import annotations

from henslowe.actors import names
from henslowe.actors.hooks.plan import Configured, of_gate, standing_of
from henslowe.actors.hooks.rows import HookRow
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import AskHooks
from henslowe.actors.versions.gates import Gate, Standing
from henslowe.actors.versions.rows import VersionRow
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
        """How a gate stands now. One that was not asked is being asked from here on, `again` one that was refused."""
        if not self._configured.at((gate.point,), row):
            return Standing.OPEN
        version, epoch, point = gate.version, gate.epoch, gate.point
        standing = standing_of(of_gate(self._table.by("service", version.service), version.number, epoch, point))
        if standing is None or (standing is Standing.CLOSED and again):
            registry.via(names.HOOKS).cast(AskHooks(version, epoch, point, again=again))
            return Standing.WAITING
        return standing
