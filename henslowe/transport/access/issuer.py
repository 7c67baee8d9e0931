"""Tokens of an authorization server: JSON Web Tokens by the issuer's keys, opaque ones by asking it.

What is checked: the signature with an algorithm that the configuration lists (a token does not choose it, and there is
no `none` and no shared secret), `iss`, `exp`, `nbf`, and that there is an `aud`; whether the audience is the endpoint
that was asked is the door's to say, since it depends on the path. Keys are only ever those of the configured issuer:
`jku`, `x5u` and `jwk` in a token mean nothing.
Source: RFC 9068 (JWT access tokens), RFC 8725 (their pitfalls), RFC 7662 (introspection), RFC 8707 (audience).
"""

from __future__ import annotations

import hashlib
import math
import re
import time
from collections.abc import Callable, Mapping
from typing import Any, Final

import jwt

from henslowe.actors.access.principal import Principal
from henslowe.actors.access.scopes import MCP, is_scope
from henslowe.actors.launch import Resolve
from henslowe.config.settings import OAuthSettings
from henslowe.errors import Unauthorised
from henslowe.transport.access.fetch import check_url, fetch_json
from henslowe.transport.access.jwks import KeySet

VERIFIED_MAX: Final = 10_000
"""Tokens remembered as good; beyond it the oldest is verified again."""
INTROSPECTED_S: Final = 60.0
"""How long an answer of the issuer about a token is believed, and so how late its revocation is noticed."""
_TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
_PLAIN: Final = re.compile(r"[\x21-\x7e]{1,128}")
_SCOPES_CHARS_MAX: Final = 4_096


class Issuer:
    """Verifies the tokens of one issuer. Runs in: the node's loop.

    Args:
        settings: The issuer and what is taken from it.
        now_s: Unix seconds.
        keys: Its keys; default: fetched.
        secrets: Puts a secret into the header that introspection asks for, at the last moment.
    """

    def __init__(
        self,
        settings: OAuthSettings,
        *,
        now_s: Callable[[], float] = time.time,
        keys: KeySet | None = None,
        secrets: Resolve = dict,
    ) -> None:
        self._settings = settings
        self._secrets = secrets
        self._now_s = now_s
        self._keys = keys or KeySet(settings.issuer, settings.jwks_url)
        self._verified: dict[bytes, tuple[Principal, float]] = {}
        """In order of verification, each with the Unix time until which it is believed."""

    def known(self, token: str) -> Principal | None:
        """Who shows a token that was verified before; None for any other. Never waits."""
        found = self._verified.get(_digest(token))
        if found is None or self._now_s() >= found[1]:
            return None
        return found[0]

    async def verify(self, token: str) -> Principal:
        """Who shows this token.

        Raises:
            Unauthorised: It is not good; the message says why, for its owner.
            Unavailable: The issuer could not be asked.
        """
        if not token.isascii():
            raise Unauthorised("the token is not a JSON Web Token")
        if token.count(".") == 2:
            claims, believed_s = await self._decoded(token), math.inf
        elif self._settings.introspection_url:
            claims, believed_s = await self._introspected(token), self._now_s() + INTROSPECTED_S
        else:
            raise Unauthorised("the token is neither one of this node nor a JSON Web Token")
        principal = self._principal(claims, token)
        if len(self._verified) >= VERIFIED_MAX:
            del self._verified[next(iter(self._verified))]
        self._verified[principal.digest] = principal, min(principal.expires_s, believed_s)
        return principal

    async def _decoded(self, token: str) -> dict[str, Any]:
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise Unauthorised("the token is not a JSON Web Token") from error
        algorithm, key_id, kind = header.get("alg"), header.get("kid"), header.get("typ", "JWT")
        if algorithm not in self._settings.algorithms:
            raise Unauthorised("the token's algorithm is not one that is taken here")
        if not isinstance(kind, str) or kind.lower() not in _TYPES:
            raise Unauthorised("the token is not an access token")
        key = await self._keys.key(key_id if isinstance(key_id, str) else None, algorithm)
        if key is None:
            raise Unauthorised("the token is signed with a key that its issuer does not have")
        try:
            claims: dict[str, Any] = jwt.decode(
                token,
                key.key,
                algorithms=[algorithm],
                issuer=self._settings.issuer,
                leeway=self._settings.leeway_s,
                options={"require": ["exp", "iss", "aud"], "verify_aud": False, "strict_aud": False},
            )
        except jwt.PyJWTError as error:
            raise Unauthorised(f"the token is not good: {_reason(error)}") from error
        return claims

    async def _introspected(self, token: str) -> dict[str, Any]:
        settings = self._settings
        headers: Mapping[str, str] = {}
        if settings.introspection_authorization:
            headers = self._secrets({"Authorization": settings.introspection_authorization})
        claims = await fetch_json(
            settings.introspection_url,
            trusted_hosts=frozenset({check_url(settings.introspection_url)}),
            form={"token": token, "token_type_hint": "access_token"},
            headers=headers,
        )
        now_s = self._now_s()
        if claims.get("active") is not True:
            raise Unauthorised("the token is not good: its issuer does not know it, or it is over")
        if claims.get("iss", settings.issuer) != settings.issuer:
            raise Unauthorised("the token is of another issuer")
        if now_s >= _number(claims.get("exp"), math.inf) + settings.leeway_s:
            raise Unauthorised("the token is not good: it has expired")
        return claims

    def _principal(self, claims: Mapping[str, Any], token: str) -> Principal:
        subject = claims.get(self._settings.subject_claim)
        if not isinstance(subject, str) or not subject:
            raise Unauthorised(f"the token names nobody: no {self._settings.subject_claim}")
        audience = claims.get("aud", ())
        audiences = (audience,) if isinstance(audience, str) else audience
        if not isinstance(audiences, list | tuple) or not all(isinstance(each, str) for each in audiences):
            raise Unauthorised("the token's audience is not one")
        theirs = _scopes_of(claims)
        return Principal(
            f"oauth:{_printable(subject)}",
            self._ours(theirs),
            claims=theirs,
            expires_s=_number(claims.get("exp"), math.inf) + self._settings.leeway_s,
            digest=_digest(token),
            audiences=frozenset(audiences),
        )

    def _ours(self, theirs: frozenset[str]) -> frozenset[str]:
        """The issuer's scopes as ours. Nobody administers the node by a scope that the configuration does not map."""
        granted, mapped = self._settings.scopes_granted, self._settings.scope_map
        if mapped:
            return frozenset(granted).union(ours for each in theirs for ours in mapped.get(each, ()))
        return frozenset(granted).union(each for each in theirs if is_scope(each) and each.partition(":")[0] == MCP)


def _scopes_of(claims: Mapping[str, Any]) -> frozenset[str]:
    """`scope` as RFC 8693 has it, or `scp` as others do: a string or a list."""
    for name in ("scope", "scp"):
        value = claims.get(name)
        if isinstance(value, str):
            return frozenset(value[:_SCOPES_CHARS_MAX].split())
        if isinstance(value, list):
            return frozenset(each for each in value[:256] if isinstance(each, str))
    return frozenset()


def _printable(subject: str) -> str:
    """The subject as logs may have it; one with spaces, control characters or beyond 128 letters as its digest."""
    if _PLAIN.fullmatch(subject):
        return subject
    return "sha256-" + hashlib.sha256(subject.encode(errors="surrogatepass")).hexdigest()[:32]


def _reason(error: jwt.PyJWTError) -> str:
    match error:
        case jwt.ExpiredSignatureError():
            return "it has expired"
        case jwt.ImmatureSignatureError():
            return "its time has not come"
        case jwt.InvalidIssuerError():
            return "it is of another issuer"
        case jwt.MissingRequiredClaimError():
            return f"it has no {error.claim}"
        case jwt.InvalidSignatureError():
            return "its signature does not match"
        case _:
            return "it is malformed"


def _number(value: Any, default: float) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else default


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode(errors="surrogatepass")).digest()
