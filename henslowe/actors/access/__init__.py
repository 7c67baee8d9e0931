"""Who may do what: tokens of this node, scopes, principals and the policy over tools.

`scopes` and `policy` decide (pure), `credentials` makes and reads tokens (pure), `rows` is the table, `keeper` the
actor that owns it, and `board` what it publishes for the data plane, which checks a token without a message. What is
not here: HTTP, JSON Web Tokens and challenges, which are `henslowe.transport.access`.
"""

from henslowe.actors.access.board import AccessBoard, Grant
from henslowe.actors.access.keeper import AccessKeeper
from henslowe.actors.access.policy import Kind, Permit, Policy
from henslowe.actors.access.principal import ANONYMOUS, Principal
from henslowe.actors.access.rows import TOKENS, TokenRow
from henslowe.actors.access.scopes import ADMIN_READ, ADMIN_TOKENS, ADMIN_WRITE, MCP, check_scopes, covers

__all__ = [
    "ADMIN_READ",
    "ADMIN_TOKENS",
    "ADMIN_WRITE",
    "ANONYMOUS",
    "MCP",
    "TOKENS",
    "AccessBoard",
    "AccessKeeper",
    "Grant",
    "Kind",
    "Permit",
    "Policy",
    "Principal",
    "TokenRow",
    "check_scopes",
    "covers",
]
