"""Who is let in over HTTP: tokens of this node, tokens of an OAuth issuer, and what a refusal tells the client.

`door` decides about one request, `authenticator` finds out who asks, `issuer` checks tokens of an authorization server
(`jwks` has its keys, `fetch` gets documents from elsewhere), `resources` is what this node says of itself as an OAuth
resource server, `live` ends what a token opened when the token ends. What a scope or a policy means is decided in
`henslowe.actors.access`.

A node without an issuer does without `issuer` and the cryptography under it: who has one imports it there.
"""

from __future__ import annotations

from henslowe.transport.access.authenticator import ROOT, Authenticator
from henslowe.transport.access.denied import Denied
from henslowe.transport.access.door import Door
from henslowe.transport.access.live import LiveRequests
from henslowe.transport.access.resources import Resources, add_resource_metadata, resources_of

__all__ = [
    "ROOT",
    "Authenticator",
    "Denied",
    "Door",
    "LiveRequests",
    "Resources",
    "add_resource_metadata",
    "resources_of",
]
