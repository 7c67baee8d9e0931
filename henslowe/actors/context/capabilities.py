"""What one service can do, in the small: names and digests, enough to see that something changed and where.

The full listings are the contract of a version and are not shared: a tool's schema can be as long as it likes, a value
of the context cannot. Pure functions; the clock, the disk and the directory are the keeper's.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict, ValidationError

from henslowe.actors.endpoints import Endpoint, JsonObject
from henslowe.actors.ids import ServiceName, VersionKey

NAMES_BYTES_MAX: Final = 48 << 10
"""Most bytes of names with their digests in one entry: a value of the context has at most 64 KiB."""
NAME_CHARS_MAX: Final = 100
"""Longer names (URIs) are told by their beginning; the digest tells them apart."""
_DIGEST_CHARS: Final = 12
"""Of a SHA-256: two schemas of one tool that agree in these by accident do not happen."""
_ITEM_BYTES: Final = _DIGEST_CHARS + 6
"""What an item takes beside its name: the digest, and the headers of two strings."""


class Capabilities(BaseModel):
    """One service's entry in the document.

    Extra fields are ignored: a peer may be newer.
    """

    model_config = ConfigDict(frozen=True, extra="ignore")

    node: str
    """Who wrote the entry; only that node removes it."""
    version: int
    protocol_version: str
    server: str = ""
    """Name and version as the server calls itself."""
    contract_digest: str
    tools: dict[str, str] = {}
    """Digest of the listing object by name; so for the other kinds, resources by URI."""
    prompts: dict[str, str] = {}
    resources: dict[str, str] = {}
    resource_templates: dict[str, str] = {}
    left_out: int = 0
    """How many items did not fit (`NAMES_BYTES_MAX`); tools come first."""


def describe(endpoint: Endpoint, *, node: str) -> Capabilities:
    """The entry for the service of `endpoint`."""
    contract, facts = endpoint.contract, endpoint.facts
    listed = (
        ("tools", "name", contract.tools),
        ("prompts", "name", contract.prompts),
        ("resources", "uri", contract.resources),
        ("resource_templates", "uriTemplate", contract.resource_templates),
    )
    kinds: dict[str, dict[str, str]] = {}
    room, left_out = NAMES_BYTES_MAX, 0
    for kind, key, items in listed:
        digests = kinds[kind] = {}
        for item in items:
            name = str(item.get(key, ""))[:NAME_CHARS_MAX]
            room -= len(name.encode()) + _ITEM_BYTES
            if room >= 0:
                digests[name] = _digest(item)
            else:
                left_out += 1
    return Capabilities(
        node=node,
        version=endpoint.version.number,
        protocol_version=facts.protocol_version,
        server=f"{facts.server_info.get('name', '')} {facts.server_info.get('version', '')}".strip()[:NAME_CHARS_MAX],
        contract_digest=contract.digest,
        left_out=left_out,
        **kinds,
    )


def representative(stable: VersionKey | None, up: Iterable[Endpoint]) -> Endpoint | None:
    """Which of a service's endpoints speaks for it: the stable version's, else the newest version's, else None."""
    endpoints = sorted(up, key=lambda endpoint: endpoint.version.number)
    for endpoint in endpoints:
        if endpoint.version == stable:
            return endpoint
    return endpoints[-1] if endpoints else None


def parse(document: Mapping[str, Any]) -> dict[ServiceName, Capabilities]:
    """The entries of a document; what cannot be read (a peer's mistake) is left out."""
    entries: dict[ServiceName, Capabilities] = {}
    for path, value in document.items():
        try:
            entries[ServiceName(path)] = Capabilities.model_validate(value)
        except ValidationError:
            continue
    return entries


def gone(entries: Mapping[ServiceName, Capabilities], known: frozenset[ServiceName], *, node: str) -> list[ServiceName]:
    """The entries that this node wrote of services that it has no more."""
    return sorted(name for name, entry in entries.items() if entry.node == node and name not in known)


def _digest(item: JsonObject) -> str:
    canonical = orjson.dumps(item, option=orjson.OPT_SORT_KEYS)
    return hashlib.sha256(canonical).hexdigest()[:_DIGEST_CHARS]
