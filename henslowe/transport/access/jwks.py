"""The signing keys of one issuer: fetched when needed, kept, and fetched again when a token names one that is new.

A token cannot make the node fetch often: a key id that is not known leads to one fetch in `MISS_INTERVAL_S`, whoever
asks. While the issuer cannot be reached, keys that were good stay good for a day.
Source: RFC 7517 (keys), RFC 8414 and OpenID Connect Discovery (where they are).
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, Final
from urllib.parse import urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey

from henslowe.errors import HensloweError, Unavailable
from henslowe.transport.access.fetch import check_url, fetch_json

FRESH_S: Final = 600.0
STALE_MAX_S: Final = 24 * 3600.0
MISS_INTERVAL_S: Final = 30.0
KEYS_MAX: Final = 100
RSA_BITS_MIN: Final = 2048


class KeySet:
    """Runs in: the node's loop.

    Args:
        issuer: The issuer identifier.
        jwks_url: Where the keys are; "" to ask the issuer's metadata.
        clock: Monotonic seconds.
    """

    def __init__(self, issuer: str, jwks_url: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._issuer = issuer
        self._url = jwks_url
        self._trusted = frozenset(check_url(url) for url in (issuer, jwks_url) if url)
        self._clock = clock
        self._keys: list[dict[str, Any]] = []
        self._fetched_s = self._tried_s = -STALE_MAX_S
        self._fetching: asyncio.Task[None] | None = None

    async def key(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        """The key that a token names, for this algorithm; None when the issuer has none.

        Raises:
            Unavailable: The issuer's keys cannot be had.
        """
        now_s = self._clock()
        age_s = now_s - self._fetched_s
        found = self._find(key_id, algorithm)
        if age_s >= FRESH_S or (found is None and now_s - self._tried_s >= MISS_INTERVAL_S):
            try:
                await self._fetch()
            except HensloweError:
                if age_s >= STALE_MAX_S:
                    raise
            found = self._find(key_id, algorithm)
        return found

    def _find(self, key_id: str | None, algorithm: str) -> jwt.PyJWK | None:
        """Without a key id there must be one key only that fits."""
        fitting = [
            key
            for data in self._keys
            if (key_id is None or data.get("kid") == key_id) and (key := _usable(data, algorithm)) is not None
        ]
        return fitting[0] if len(fitting) == 1 or (fitting and key_id is not None) else None

    async def _fetch(self) -> None:
        """One fetch for all who wait; a failed one is not repeated at once."""
        if self._fetching is None or self._fetching.done():
            if self._clock() - self._tried_s < MISS_INTERVAL_S:
                raise Unavailable(f"cannot check tokens of {self._issuer}: its keys could not be had")
            self._tried_s = self._clock()
            self._fetching = asyncio.ensure_future(self._renew())
        await asyncio.shield(self._fetching)

    async def _renew(self) -> None:
        url = self._url or await self._discover()
        document = await fetch_json(url, trusted_hosts=self._trusted)
        keys = document.get("keys")
        if not isinstance(keys, list) or len(keys) > KEYS_MAX:
            raise Unavailable(f"cannot use the keys at {url}: expected a list of at most {KEYS_MAX}")
        self._keys = [key for key in keys if isinstance(key, dict)]
        self._fetched_s = self._clock()

    async def _discover(self) -> str:
        """Where the metadata of the issuer says its keys are."""
        failure: HensloweError | None = None
        for url in metadata_urls(self._issuer):
            try:
                document = await fetch_json(url, trusted_hosts=self._trusted)
            except HensloweError as error:
                failure = failure or error
                continue
            found = document.get("jwks_uri")
            if document.get("issuer") == self._issuer and isinstance(found, str):
                return found
            failure = Unavailable(f"cannot use {url}: it is not about {self._issuer}, or names no keys")
        raise failure or Unavailable(f"cannot find the keys of {self._issuer}")


def metadata_urls(issuer: str) -> tuple[str, ...]:
    """Where an issuer's metadata may be, in the order of the specification."""
    parts = urlsplit(issuer)
    origin, path = f"{parts.scheme}://{parts.netloc}", parts.path.rstrip("/")
    urls = [f"{origin}/.well-known/{name}{path}" for name in ("oauth-authorization-server", "openid-configuration")]
    if path:
        urls.append(f"{origin}{path}/.well-known/openid-configuration")
    return tuple(urls)


def _usable(data: dict[str, Any], algorithm: str) -> jwt.PyJWK | None:
    """The key, if it is a public one for signatures with this very algorithm."""
    if data.get("kty") not in ("RSA", "EC", "OKP") or data.get("use", "sig") != "sig":
        return None
    if data.get("alg", algorithm) != algorithm:
        return None
    try:
        key = jwt.PyJWK(data, algorithm)
    except (jwt.PyJWTError, ValueError, KeyError, TypeError):
        return None
    if isinstance(key.key, RSAPublicKey) and key.key.key_size < RSA_BITS_MIN:
        return None
    return key
