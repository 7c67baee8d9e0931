"""The admin routes of migrations and secrets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest

from henslowe.actors.ids import service_name
from henslowe.actors.launch import LaunchSpec
from henslowe.actors.versions import SERVICES, VERSIONS, ServiceRow, VersionRow
from henslowe.storage import Store
from tests.storage.faults import Faults
from tests.storage.migrating import key, new, new_spec, old, old_spec
from tests.storage.stores import running
from tests.transport.admin.small_node import Served, serve

V1 = "/admin/v1"
ROWS = 60
VALUE = "s3cr3t-of-ada"


@pytest.fixture(autouse=True)
def _keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))


@pytest.fixture
async def migrating(tmp_path: Path) -> AsyncIterator[tuple[Served, Store]]:
    """A small node with a table of an older schema."""
    workspace = tmp_path / "ws"
    workspace.mkdir()
    async with running(workspace / ".henslowe", Faults()) as store:
        await store.table(old_spec()).insert(*(old(number) for number in range(ROWS)))
    async with serve(workspace) as served:
        store = served.node.store
        store.table(new_spec())
        yield served, store


def session(served: Served) -> aiohttp.ClientSession:
    return aiohttp.ClientSession("http://node", connector=aiohttp.UnixConnector(served.file.socket))


async def test_migrations_are_planned_led_and_taken_back(migrating: tuple[Served, Store]) -> None:
    served, store = migrating
    async with session(served) as local:
        async with local.get(f"{V1}/storage/migrations") as response:
            body = await response.json()
        assert body["migrations"] == []
        (planned,) = body["planned"]
        assert (planned["table"], planned["rows"], planned["reversible"]) == ("people", ROWS, True)
        assert planned["phases"] == ["expand", "backfill", "verify", "flip", "drop"]
        flipped = asyncio.Event()
        store.events.on_committed(
            lambda events: [flipped.set() for event in events if event.data.get("phase") == "flip"]
        )
        async with local.post(f"{V1}/storage/migrations", json={"table": "people", "to": "flip"}) as response:
            assert response.status == 202
        async with asyncio.timeout(5):
            await flipped.wait()
        await store.table(new_spec()).insert(new(1, age_s=99))
        body = {"table": "people", "rollback": True}
        async with local.post(f"{V1}/storage/migrations", json=body) as response:
            (row,) = (await response.json())["migrations"]
        assert (row["phase"], row["running"], row["problem"]) == ("rolled_back", False, "")
        assert row["by"].startswith("local:")
        assert store.table(new_spec()).lookup(key(1)) == new(1, age_s=99)


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"table": "nobody"}, 404, "cannot find table 'nobody'"),
        ({"rollback": True}, 400, "expected the table to roll back"),
        ({"to": "sideways"}, 400, "to: expected"),
        ({"tabel": "x"}, 400, "tabel: expected one of table, to, rollback"),
        ({"table": "people", "rollback": True}, 404, "never migrated"),
    ],
)
async def test_what_cannot_be_migrated_is_refused_in_words(
    migrating: tuple[Served, Store], body: dict, status: int, said: str
) -> None:
    async with session(migrating[0]) as local, local.post(f"{V1}/storage/migrations", json=body) as response:
        assert response.status == status
        assert said in (await response.json())["error"]["message"]


async def test_a_secret_names_the_services_whose_versions_refer_to_it(
    served: Served, local: aiohttp.ClientSession
) -> None:
    store = served.node.store
    name = service_name("weather")
    for number, secret in ((1, "old"), (2, "token"), (3, "token")):
        launch = LaunchSpec(command=("serve",), env={"KEY": f"secret:{secret}"})
        await store.table(VERSIONS).insert(VersionRow(service=name, number=number, launch=launch))
    await store.table(SERVICES).insert(ServiceRow(service=name, active=2, canary=3, previous=1))
    for secret in ("old", "token"):
        async with local.post(f"{V1}/secrets", json={"name": secret, "value": VALUE}) as response:
            body = await response.json()
    assert {each["name"]: each["services"] for each in body["secrets"]} == {"old": [], "token": ["weather"]}


async def test_secrets_go_in_and_never_out(served: Served, local: aiohttp.ClientSession) -> None:
    async with local.post(f"{V1}/secrets", json={"name": "token", "value": VALUE}) as response:
        assert response.status == 201
        set_text = await response.text()
    async with local.get(f"{V1}/secrets") as response:
        listed = await response.text()
        body = await response.json()
    (mine,) = body["secrets"]
    assert (mine["name"], mine["services"], mine["key"]) == ("token", [], body["keys"][0])
    async with local.post(f"{V1}/secrets/rotate") as response:
        assert response.status == 202
        rotating = await response.text()
    async with local.get(f"{V1}/events?limit=50") as response:
        events = await response.text()
    async with local.post(f"{V1}/secrets/token/remove") as response:
        assert (await response.json())["secrets"] == []
    async with local.post(f"{V1}/secrets/token/remove") as response:
        assert response.status == 404
    assert all(VALUE not in text for text in (set_text, listed, rotating, events))
    assert served.node.store.secrets.rows() == ()


@pytest.mark.parametrize(
    "body",
    [
        {"name": "token", "value": VALUE, "more": VALUE},
        {"name": VALUE + "/", "value": VALUE},
        {"name": "token", "value": [VALUE]},
        {"name": "token", "value": VALUE * 4000},
    ],
)
async def test_a_mistake_in_a_request_with_a_secret_is_not_repeated_in_its_error(
    local: aiohttp.ClientSession, body: dict
) -> None:
    async with local.post(f"{V1}/secrets", json=body) as response:
        assert response.status == 400
        assert VALUE not in await response.text()


async def test_a_token_that_may_only_read_may_not_set_a_secret(served: Served, remote: aiohttp.ClientSession) -> None:
    async with remote.post(f"{V1}/secrets", json={"name": "a", "value": VALUE}) as response:
        assert response.status == 401
    assert served.node.store.secrets.rows() == ()
