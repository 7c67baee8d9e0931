"""The headers of a webhook: who it is from, which one it is, and a signature by a shared secret. Pure.

The scheme is that of Standard Webhooks, so that receivers can use a library: `v1,` and the base64 of HMAC-SHA256 over
`<id>.<timestamp>.<body>`. A secret that begins with `whsec_` is base64 behind that, any other is taken as it is.

Source: https://www.standardwebhooks.com (specification, "Signature scheme").
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from typing import Final

from henslowe.errors import ConfigError

_PREFIX: Final = "whsec_"


def headers_of(id_: str, body: bytes, now_s: float, secret: str) -> dict[str, str]:
    """The headers of one delivery; without a secret it is not signed.

    Raises:
        ConfigError: The secret begins with `whsec_` and is not base64 behind that.
    """
    headers = {
        "Content-Type": "application/json",
        "User-Agent": "henslowe",
        "Idempotency-Key": id_,
        "webhook-id": id_,
        "webhook-timestamp": str(int(now_s)),
    }
    if secret:
        signed = f"{id_}.{int(now_s)}.".encode() + body
        digest = hmac.new(_key(secret), signed, hashlib.sha256).digest()
        headers["webhook-signature"] = f"v1,{base64.b64encode(digest).decode()}"
    return headers


def _key(secret: str) -> bytes:
    if not secret.startswith(_PREFIX):
        return secret.encode()
    try:
        return base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ConfigError(
            f"expected base64 behind {_PREFIX} in the secret of a hook", hint="set it again: henslowe secrets set NAME"
        ) from error
