"""Settings of access that are fine alone and wrong together, found before anything listens. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple
from urllib.parse import urlsplit

from henslowe.config.settings import Settings

LOOPBACK: frozenset[str] = frozenset({"localhost", "127.0.0.1", "::1"})


class Contradiction(NamedTuple):
    """What is wrong, at which key, and what to do."""

    key: str
    message: str
    hint: str


def access_contradictions(settings: Settings, *, loopback: bool) -> Iterator[Contradiction]:
    """Everything that is wrong; `loopback` says whether only this machine can reach the listener."""
    access, oauth, tls = settings.access, settings.access.oauth, settings.tls
    if (tls.cert_file is None) is not (tls.key_file is None):
        missing = "tls.key_file" if tls.key_file is None else "tls.cert_file"
        yield Contradiction(missing, f"{missing}: expected a file beside the other one, got: none", f"set {missing}")
    if access.public_url and not _absolute(access.public_url):
        yield Contradiction(
            "access.public_url",
            f"access.public_url: expected an address without query or fragment, got: {access.public_url!r:.200}",
            "for example https://mcp.example.org",
        )
    if access.mode != "oauth":
        return
    if not oauth.issuer:
        yield Contradiction(
            "access.oauth.issuer",
            'access.oauth.issuer: expected an issuer for access.mode = "oauth", got: none',
            "for example https://login.example.org",
        )
    for name in ("issuer", "jwks_url", "introspection_url"):
        url = getattr(oauth, name)
        if url and not _secure(url):
            yield Contradiction(
                f"access.oauth.{name}",
                f"access.oauth.{name}: expected an https address (http on loopback only), got: {url!r:.200}",
                "for example https://login.example.org",
            )
    if not loopback and not access.public_url:
        yield Contradiction(
            "access.public_url",
            "access.public_url: expected the address that tokens are for, since clients may come by any, got: none",
            "for example https://mcp.example.org",
        )
    if not oauth.algorithms:
        yield Contradiction("access.oauth.algorithms", "access.oauth.algorithms: expected at least one", "RS256")


def _absolute(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and not parts.query and not parts.fragment
    except ValueError:
        return False


def _secure(url: str) -> bool:
    return _absolute(url) and (url.startswith("https://") or urlsplit(url).hostname in LOOPBACK)
