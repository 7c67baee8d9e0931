"""The admin routes of one version: where it comes from, and the files that its stages left to be looked at.

Such files are what somebody's tests wrote: they are handed out as bytes to be saved, never as a page.
"""

from __future__ import annotations

import asyncio
from urllib.parse import quote

from aiohttp import web

from henslowe.actors.versions import VERSIONS, VersionRow
from henslowe.errors import BadRequest, NotFound
from henslowe.storage import EntryKind, Store
from henslowe.transport.admin.edge import Call
from henslowe.transport.admin.models.artifacts import ArtifactQuery, ArtifactReply, ArtifactsReply, VersionFactsReply
from henslowe.transport.admin.models.base import Reply


class KeptVersions:
    """Versions and what is kept with them. Runs in: the node's loop."""

    def __init__(self, store: Store) -> None:
        self._archive = store.archive
        self._versions = store.table(VERSIONS)

    def facts(self, service: str, version: str) -> VersionFactsReply:
        """One version, whole.

        Raises:
            NotFound, BadRequest: There is no such version.
        """
        row = self._row(service, version)
        return VersionFactsReply(
            service=row.service,
            version=row.number,
            state=row.state.value,
            semver=row.semver,
            build=row.build,
            created_s=row.created_s,
            changed_s=row.changed_s,
            reason=row.reason,
            facts=row.metadata | ({"replay": row.rehearsal.model_dump()} if row.rehearsal is not None else {}),
        )

    async def listed(self, service: str, version: str) -> ArtifactsReply:
        """The files kept with a version.

        Raises:
            NotFound, BadRequest: There is no such version.
            Corrupt: The archive is damaged.
        """
        row = self._row(service, version)
        kept = str(row.metadata.get("kept", ""))
        build = await asyncio.to_thread(self._archive.build, kept) if kept else None
        return ArtifactsReply(
            service=row.service,
            version=row.number,
            artifacts=tuple(
                ArtifactReply(path=entry.path, size_bytes=entry.size_bytes, digest=entry.digest)
                for entry in (build.files if build is not None else ())
                if entry.kind is EntryKind.FILE
            ),
        )

    async def read(self, service: str, version: str, path: str) -> bytes:
        """The content of one of them.

        Raises:
            NotFound, BadRequest: There is no such version or file.
            Corrupt: The archive is damaged.
        """
        row = self._row(service, version)
        kept = str(row.metadata.get("kept", ""))

        def find() -> bytes:
            for entry in self._archive.build(kept).files if kept else ():
                if entry.path == path and entry.kind is EntryKind.FILE:
                    return self._archive.read(entry)
            raise NotFound(
                f"cannot find {path!r} among the artifacts of {row.key}", hint=f"henslowe artifacts {service} {version}"
            )

        return await asyncio.to_thread(find)

    def _row(self, service: str, version: str) -> VersionRow:
        if not (version.isascii() and version.isdigit() and len(version) < 12):
            raise BadRequest(f"expected the number of a version, got: {version[:40]!r}")
        row = self._versions.lookup((service, int(version)))
        if row is None:
            raise NotFound(f"cannot find version {version} of {service!r}", hint=f"henslowe versions {service}")
        return row


# -- routes ----------------


async def facts(call: Call) -> Reply | web.StreamResponse:
    """One version, whole."""
    return call.admin.kept.facts(call.path("service"), call.path("version"))


async def artifacts(call: Call) -> Reply | web.StreamResponse:
    """The files kept with it."""
    return await call.admin.kept.listed(call.path("service"), call.path("version"))


async def artifact(call: Call) -> Reply | web.StreamResponse:
    """The content of one of them."""
    query = call.query
    assert isinstance(query, ArtifactQuery)
    content = await call.admin.kept.read(call.path("service"), call.path("version"), query.path)
    name = quote(query.path.rpartition("/")[2])
    return web.Response(
        body=content,
        content_type="application/octet-stream",
        headers={
            "Content-Disposition": f"attachment; filename*=UTF-8''{name}",
            "X-Content-Type-Options": "nosniff",
            "Cache-Control": "no-store",
        },
    )
