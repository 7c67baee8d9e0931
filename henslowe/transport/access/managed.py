"""The node's tokens as the admin API has them: read from the published table, changed by message to their keeper."""

from __future__ import annotations

from typing import Protocol

from henslowe.actors import names
from henslowe.actors.access.keeper import Minted
from henslowe.actors.access.principal import Principal
from henslowe.actors.access.rows import TokenRow
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import CreateToken, RevokeToken, RotateToken


class TokenTable(Protocol):
    """What is read of the table `henslowe.actors.access.TOKENS`, as `Store.table` returns it."""

    def rows(self) -> tuple[TokenRow, ...]:
        """The published rows."""
        ...


class ManagedTokens:
    """The tokens of this node. Every change raises what its message says. Runs in: the node's loop.

    Args:
        table: The tokens table.
    """

    def __init__(self, table: TokenTable) -> None:
        self._table = table
        self._keeper = registry.via(names.ACCESS)

    def rows(self) -> list[TokenRow]:
        """All tokens, by name."""
        return sorted(self._table.rows(), key=lambda row: row.name)

    async def create(self, who: Principal, name: str, scopes: tuple[str, ...], expires_s: float | None) -> Minted:
        """A new token; `expires_s` is Unix time."""
        minted: Minted = await self._keeper.call(CreateToken(name, scopes, who.name, who.scopes, expires_s))
        return minted

    async def rotate(self, who: Principal, token: str, grace_s: float) -> Minted:
        """A new secret for a token."""
        minted: Minted = await self._keeper.call(RotateToken(token, who.name, who.scopes, grace_s))
        return minted

    async def revoke(self, who: Principal, token: str) -> TokenRow:
        """The end of a token."""
        row: TokenRow = await self._keeper.call(RevokeToken(token, who.name))
        return row
