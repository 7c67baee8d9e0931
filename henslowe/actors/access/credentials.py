"""Tokens of this node as text: `hns_ID_SECRET`. Made here, read here, and kept only as a digest.

The secret has 256 random bits. A slow hash (bcrypt, argon2) protects what people can guess; nobody guesses 256 bits,
and a slow hash on each request would be a gift to whoever wants to keep the node busy. SHA-256 is enough, and the id in
front of the secret finds the row without a search, so that only one digest is compared, in constant time.
Source: OWASP Password Storage Cheat Sheet (what slow hashes are for); RFC 6750, section 5.2 (entropy of bearer tokens).
"""

from __future__ import annotations

import hashlib
import re
import secrets
from typing import Final

PREFIX: Final = "hns_"
"""Lets scanners for leaked secrets find ours."""
ID_BYTES: Final = 6
SECRET_BYTES: Final = 32
"""256 bits."""
_FORM: Final = re.compile(r"hns_([0-9a-f]{12})_[A-Za-z0-9_-]{43}", re.ASCII)


def mint_id() -> str:
    """A new id: 12 hexadecimal digits; not secret."""
    return secrets.token_hex(ID_BYTES)


def mint(token_id: str) -> str:
    """A new token with this id."""
    return f"{PREFIX}{token_id}_{secrets.token_urlsafe(SECRET_BYTES)}"


def id_of(token: str) -> str | None:
    """The id in a token's text; None for what is not a token of any node."""
    found = _FORM.fullmatch(token)
    return None if found is None else found[1]


def digest(token: str) -> bytes:
    """What is kept of a token."""
    return hashlib.sha256(token.encode()).digest()
