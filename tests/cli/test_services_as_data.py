"""`henslowe service`, on the files and through a node; and the routes of the admin API that it asks."""

from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.cli.conftest import Henslowe
from tests.transport.admin.background import Background
from tests.transport.admin.small_node import Served, serve

ADD = ("service", "add", "time", "--command", "uvx mcp-server-time --local-timezone UTC")


@pytest.fixture(params=["files", "node"])
def way(request: pytest.FixtureRequest) -> str:
    """Both ways have one contract."""
    if request.param == "node":
        request.getfixturevalue("node")
    return str(request.param)


def test_a_service_is_added_shown_changed_and_removed(henslowe: Henslowe, workspace: Path, way: str) -> None:
    added = henslowe(*ADD, "--env", "TZ=UTC", "--set", "strategy=canary", "--json")
    assert added.exit_code == 0, added.err
    assert added.json["created"]
    shown = henslowe("service", "show", "time", "--json").json
    assert 'command = ["uvx", "mcp-server-time", "--local-timezone", "UTC"]' in shown["text"]
    changed = henslowe("service", "set", "time", "canary_percent=5", "--unset", "strategy", "--json")
    assert changed.exit_code == 0, changed.err
    assert not changed.json["builds"]
    assert "a version is made" in henslowe("service", "set", "time", "launch.env.TZ=CET").out
    text = (workspace / "dev/time/service.toml").read_text()
    assert "strategy" not in text
    assert "canary_percent = 5" in text
    stale = henslowe("service", "set", "time", "canary_percent=6", "--if-match", shown["etag"])
    assert stale.exit_code == 1
    assert "changed since it was read" in stale.err
    removed = henslowe("service", "remove", "time", "--json")
    assert removed.exit_code == 0, removed.err
    assert (Path(removed.json["kept_at"]) / "service.toml").read_text() == text
    assert henslowe("service", "show", "time").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("service", "add", "time"), "expected how to run time"),
        (("service", "add", "time", "--command", "x", "--env", "novalue"), "expected NAME=VALUE"),
        (("service", "add", "time", "--command", "x", "--set", "strategi=canary"), "did you mean 'strategy'?"),
        (("service", "add", "far", "--url", "/mcp/hello"), "expected a url like https://host/mcp"),
        (("service", "add", "far", "--url", "https://me:secret@host/mcp"), "credentials belong into headers"),
        (("service", "add", "Time!", "--command", "x"), "expected a service name"),
        (("service", "add", "./x", "--command", "x"), "expected a path alone"),
        (("service", "set", "time"), "expected KEY=VALUE"),
        (("service", "set", "nobody", "a=1"), "there is no folder dev/nobody"),
        (("service", "set", "hello", "a=1", "--if-match", "x y"), "expected an etag"),
    ],
)
def test_what_cannot_be_done_is_said_and_changes_nothing(
    henslowe: Henslowe, workspace: Path, arguments: tuple[str, ...], words: str
) -> None:
    ran = henslowe(*arguments)
    assert ran.exit_code != 0
    assert words in ran.err
    assert not list(workspace.glob("dev/*"))


def test_a_remote_server_is_one_command(henslowe: Henslowe, workspace: Path) -> None:
    header = "Authorization=Bearer secret:token"
    added = henslowe("service", "add", "search", "--url", "https://search.example.com/mcp", "--header", header)
    assert added.exit_code == 0, added.err
    text = (workspace / "dev/search/service.toml").read_text()
    assert 'wire = "http"' in text
    assert 'Authorization = "Bearer secret:token"' in text


def test_sources_elsewhere_become_a_link(henslowe: Henslowe, workspace: Path, tmp_path: Path) -> None:
    sources = tmp_path / "Weather"
    sources.mkdir()
    (sources / "server.py").write_text("")
    assert henslowe("service", "add", str(sources)).exit_code == 2
    assert henslowe("service", "add", str(sources), "--name", "weather").exit_code == 0
    assert (workspace / "dev/weather").resolve() == sources
    assert henslowe("service", "remove", "weather").exit_code == 0
    assert (sources / "server.py").exists()


def test_a_service_that_was_deployed_is_retired_with_its_folder(
    henslowe: Henslowe, workspace: Path, node: Background
) -> None:
    (workspace / "dev/hello").mkdir(parents=True)
    removed = henslowe("service", "remove", "hello", "--json")
    assert removed.exit_code == 0, removed.err
    assert removed.json["retired"]
    assert node.node.asked[-1][:2] == ("hello", "remove")


# -- the admin API ----------------


@pytest.fixture
async def api(tmp_path: Path) -> Any:
    async with serve(tmp_path / "ws") as served:
        connector = aiohttp.UnixConnector(served.file.socket)
        async with aiohttp.ClientSession("http://node", connector=connector) as session:
            yield served, session


MANIFEST = "/admin/v1/services/time/manifest"
RUN = '[launch]\ncommand = ["true"]\n'


async def test_the_etag_guards_every_change(api: tuple[Served, aiohttp.ClientSession]) -> None:
    _, session = api
    fresh = {"If-None-Match": "*"}
    async with session.put(MANIFEST, json={"text": RUN}) as answer:
        assert answer.status == 404
    async with session.put(MANIFEST, json={"text": RUN}, headers=fresh) as answer:
        assert answer.status == 201
        etag = answer.headers["ETag"]
    async with session.put(MANIFEST, json={"text": RUN}, headers=fresh) as answer:
        assert answer.status == 409
    async with session.patch(MANIFEST, json={"set": {"strategy": "canary"}}, headers={"If-Match": etag}) as answer:
        assert answer.status == 200
        assert (await answer.json())["values"]["strategy"] == "canary"
    async with session.patch(MANIFEST, json={"remove": ["strategy"]}, headers={"If-Match": etag}) as answer:
        assert answer.status == 412
        assert (await answer.json())["error"]["code"] == "precondition_failed"
    async with session.delete("/admin/v1/services/time", headers={"If-Match": etag}) as answer:
        assert answer.status == 412
    async with session.delete("/admin/v1/services/time") as answer:
        assert answer.status == 200
        assert not (await answer.json())["retired"]


@pytest.mark.parametrize("body", [{}, {"set": {"strategy": "rush"}}, {"set": {"launch": None}}, {"set": {"a": [{}]}}])
async def test_a_wrong_change_is_a_bad_request_and_changes_nothing(
    api: tuple[Served, aiohttp.ClientSession], body: dict[str, Any]
) -> None:
    _, session = api
    async with session.put(MANIFEST, json={"text": RUN}, headers={"If-None-Match": "*"}) as answer:
        etag = answer.headers["ETag"]
    async with session.patch(MANIFEST, json=body) as answer:
        assert answer.status == 400
    async with session.get(MANIFEST) as answer:
        assert answer.headers["ETag"] == etag
