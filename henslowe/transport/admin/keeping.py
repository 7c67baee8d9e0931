"""The admin routes of what is kept: migrations of tables, and secrets. Values of secrets go in and never out.

`Keeping` is what the routes work with; the CLI works with the same object on a data directory whose node does not run.
"""

from __future__ import annotations

from typing import Final

from aiohttp import web

from henslowe.actors.kernel import names as registry
from henslowe.actors.launch import LaunchSpec
from henslowe.actors.versions import SERVICES, VERSIONS
from henslowe.config.settings import DeclaredService, Settings
from henslowe.errors import BadRequest
from henslowe.storage import Store
from henslowe.storage.migrations.planning import Planned
from henslowe.storage.migrations.progress import ORDER, MigrationRow, Phase
from henslowe.storage.migrations.runner import RUNNER_NAME, Migrate, RollBack, Rotate
from henslowe.storage.sealing import Secret
from henslowe.storage.secrets import references
from henslowe.transport.admin.edge import Call
from henslowe.transport.admin.models.base import Reply
from henslowe.transport.admin.models.keeping import (
    MigrateRequest,
    MigrationReply,
    MigrationsReply,
    PlannedMigrationReply,
    SecretReply,
    SecretsReply,
    SetSecretRequest,
)

COMMAND_S: Final = 60.0
"""Longest wait for the runner, which may be in the middle of a page."""


class Keeping:
    """Migrations and secrets of one store, with their runner registered. Runs in: the node's loop."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self._store = store
        self._settings = settings
        self._services, self._versions = store.table(SERVICES), store.table(VERSIONS)
        self._runner = registry.via(RUNNER_NAME)

    def migrations(self) -> MigrationsReply:
        """How far each migration is, and what is to be done."""
        return migrations_reply(
            self._store.migrator.rows(), self._store.migrator.plan(), self._settings.storage.migration_rows_per_s
        )

    async def migrate(self, request: MigrateRequest, *, by: str) -> MigrationsReply:
        """Begins, leads on or takes back. Raises what the migrator raises."""
        if request.rollback:
            if not request.table:
                raise BadRequest("expected the table to roll back, got none", hint="henslowe storage migrate --status")
            await self._runner.call(RollBack(request.table, by), COMMAND_S)
        else:
            tables = [request.table] if request.table else [each.table for each in self._store.migrator.plan()]
            for table in tables:
                await self._runner.call(Migrate(table, Phase(request.to), by), COMMAND_S)
        return self.migrations()

    def _users(self) -> dict[str, set[str]]:
        """The services that refer to each secret: as the configuration says now, and as their versions were made."""
        launches: list[tuple[str, DeclaredService | LaunchSpec]] = list(self._settings.services.items())
        for row in self._services.rows():
            for number in (row.active, row.canary, row.staged):
                version = self._versions.lookup((row.service, number))
                if version is not None and version.launch is not None:
                    launches.append((row.service, version.launch))
        users: dict[str, set[str]] = {}
        for service, launch in launches:
            for name in (*references(launch.env), *references(launch.headers)):
                users.setdefault(name, set()).add(service)
        return users

    def secrets(self) -> SecretsReply:
        """The secrets by name, without their values, and the keys' ids."""
        users = self._users()
        found, file, rotation = self._store.vault.found(), self._store.vault.file, self._store.rotation.row
        return SecretsReply(
            secrets=tuple(
                SecretReply(
                    name=row.name,
                    created_s=row.created_s,
                    changed_s=row.changed_s,
                    by=row.by,
                    key=row.key_id,
                    services=tuple(sorted(users.get(row.name, ()))),
                )
                for row in self._store.secrets.rows()
            ),
            key_file=str(file.path),
            key_source=file.source.value,
            keys=found.ids if found is not None else (),
            rotating=rotation is not None,
            rows_done=rotation.rows if rotation is not None else 0,
        )

    async def set_secret(self, name: str, value: Secret, *, by: str) -> SecretsReply:
        """Keeps a secret."""
        await self._store.secrets.set(name, value, by=by)
        return self.secrets()

    async def remove_secret(self, name: str, *, by: str) -> SecretsReply:
        """Removes a secret."""
        await self._store.secrets.remove(name, by=by)
        return self.secrets()

    async def rotate(self, *, by: str) -> SecretsReply:
        """Begins to seal everything with a new key."""
        await self._runner.call(Rotate(by), COMMAND_S)
        return self.secrets()


def migrations_reply(
    rows: tuple[MigrationRow, ...] | list[MigrationRow], plan: list[Planned], rows_per_s: float
) -> MigrationsReply:
    """Migrations as the API shows them."""
    return MigrationsReply(
        migrations=tuple(
            MigrationReply(
                table=row.table,
                from_schema=row.from_schema,
                to_schema=row.to_schema,
                phase=row.phase.value,
                goal=row.goal.value,
                running=row.running,
                rows_done=row.rows,
                started_s=row.started_s,
                changed_s=row.changed_s,
                flipped_s=row.flipped_s,
                by=row.by,
                problem=row.problem,
            )
            for row in rows
        ),
        planned=tuple(_planned_reply(each, rows_per_s) for each in plan),
    )


def _planned_reply(planned: Planned, rows_per_s: float) -> PlannedMigrationReply:
    left = ORDER if planned.phase is None else ORDER[ORDER.index(planned.phase) + 1 :]
    passes = sum(phase in left for phase in (Phase.BACKFILL, Phase.VERIFY))
    return PlannedMigrationReply(
        table=planned.table,
        from_schema=planned.from_schema,
        to_schema=planned.to_schema,
        phases=tuple(phase.value for phase in left),
        rows=planned.rows,
        size_bytes=planned.size_bytes,
        reversible=planned.reversible,
        estimate_s=round(passes * planned.rows / rows_per_s, 1),
        problem=planned.problem,
    )


# -- routes ----------------


async def migrations(call: Call) -> Reply | web.StreamResponse:
    """How far each migration is."""
    return call.admin.keeping.migrations()


async def migrate(call: Call) -> Reply | web.StreamResponse:
    """Begin migrations, or take one back."""
    assert isinstance(call.body, MigrateRequest)
    return await call.admin.keeping.migrate(call.body, by=call.by)


async def secrets(call: Call) -> Reply | web.StreamResponse:
    """The secrets, without their values."""
    return call.admin.keeping.secrets()


async def set_secret(call: Call) -> Reply | web.StreamResponse:
    """Keep a secret."""
    body = call.body
    assert isinstance(body, SetSecretRequest)
    return await call.admin.keeping.set_secret(body.name, Secret(body.value.get_secret_value()), by=call.by)


async def remove_secret(call: Call) -> Reply | web.StreamResponse:
    """Remove a secret."""
    return await call.admin.keeping.remove_secret(call.path("secret"), by=call.by)


async def rotate_secrets(call: Call) -> Reply | web.StreamResponse:
    """Seal everything with a new key."""
    return await call.admin.keeping.rotate(by=call.by)
