from __future__ import annotations

import asyncio
import json
import os
import pwd
from pathlib import Path
from typing import get_args

import aiohttp
import pykka
import pytest

from henslowe.actors.messages import Action
from henslowe.errors import StorageDegraded
from henslowe.transport.admin.models.base import ActionName
from tests.transport.admin.small_node import Served, serve

V1 = "/admin/v1"


def test_the_api_knows_exactly_the_commands_of_the_version_machine() -> None:
    assert set(get_args(ActionName)) == {action.value for action in Action}


async def test_status_over_the_socket_needs_no_token(local: aiohttp.ClientSession) -> None:
    async with local.get(f"{V1}/status") as response:
        assert response.status == 200
        body = await response.json()
    assert body["health"]["ok"] is True
    assert body["services"][0]["active"]["version"] == 3


@pytest.mark.parametrize("path", [f"{V1}/status", f"{V1}/openapi.json", f"{V1}/nothing"])
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic abc"])
async def test_tcp_without_the_token_is_refused(
    remote: aiohttp.ClientSession, path: str, authorization: str | None
) -> None:
    headers = {"Authorization": authorization} if authorization else {}
    async with remote.get(path, headers=headers) as response:
        assert response.status == 401
        assert response.headers["WWW-Authenticate"].startswith("Bearer")
        error = (await response.json())["error"]
    assert error["code"] == "unauthorised"
    assert "admin.token" in error["hint"]


async def test_tcp_with_the_token_is_answered(served: Served, remote: aiohttp.ClientSession) -> None:
    async with remote.get(f"{V1}/status", headers={"Authorization": f"Bearer {served.token}"}) as response:
        assert response.status == 200


@pytest.mark.parametrize(("path", "on_a_full_disk", "without_a_tree"), [("/livez", 200, 503), ("/readyz", 503, 503)])
async def test_probes_need_no_token_and_a_full_disk_is_no_reason_to_restart(
    served: Served, remote: aiohttp.ClientSession, path: str, on_a_full_disk: int, without_a_tree: int
) -> None:
    async def probe() -> tuple[int, bool, str]:
        async with remote.get(path) as response:
            body = await response.json()
            return response.status, body["ok"], body["state"]

    assert await probe() == (200, True, "ok")
    served.node.well = False
    assert await probe() == (on_a_full_disk, False, "degraded")
    served.node.stands = False
    assert await probe() == (without_a_tree, False, "failed")


async def test_a_client_that_asks_too_often_is_told_when_to_come_back(tmp_path: Path) -> None:
    async with (
        serve(tmp_path / "ws", rate_per_s=2) as served,
        aiohttp.ClientSession("http://node", connector=aiohttp.UnixConnector(served.file.socket)) as session,
    ):
        statuses = []
        for _ in range(3):
            async with session.get(f"{V1}/status") as response:
                statuses.append(response.status)
                last = response
                body = await response.json()
        assert statuses == [200, 200, 429]
        assert last.headers["Retry-After"] == "1"
        assert body["error"]["code"] == "rate_limited"
        async with session.get("/livez") as response:
            assert response.status == 200


async def test_a_command_reaches_the_node_with_who_asked_and_why(served: Served, local: aiohttp.ClientSession) -> None:
    body = {"reason": "looks good", "expected_epoch": 7}
    async with local.post(f"{V1}/services/hello/actions/promote", json=body) as response:
        assert response.status == 200
        done = await response.json()
    assert (done["version"], done["action"]) == (4, "promote")
    service, action, by, reason, to_version, epoch = served.node.asked[0]
    assert (service, action, reason, to_version, epoch) == ("hello", "promote", "looks good", None, 7)
    assert by.startswith("local:")


async def test_the_line_is_stopped_and_started_by_one_request_each(
    served: Served, local: aiohttp.ClientSession
) -> None:
    for action, body in (("stop", {"reason": "outage"}), ("freeze", {"until_s": 2e9}), ("start", {})):
        async with local.post(f"{V1}/line/{action}", json=body) as response:
            assert (response.status, (await response.json())["action"]) == (200, action)
    by = served.node.asked[0][2]
    assert served.node.asked == [
        ("line", "stop", by, "outage", None),
        ("line", "freeze", by, "", 2e9),
        ("line", "start", by, "", None),
    ]
    async with local.post(f"{V1}/line/halt") as response:
        assert response.status == 404
    async with local.post(f"{V1}/line/freeze", json={"until_s": -1}) as response:
        assert response.status == 400


async def test_a_command_without_a_body_is_a_command_without_a_reason(local: aiohttp.ClientSession) -> None:
    async with local.post(f"{V1}/services/hello/actions/hold") as response:
        assert response.status == 200


async def test_a_command_that_does_not_fit_the_state_is_a_conflict(local: aiohttp.ClientSession) -> None:
    async with local.post(f"{V1}/services/hello/actions/promote") as response:
        assert response.status == 200
    async with local.post(f"{V1}/services/hello/actions/promote") as response:
        assert response.status == 409
        error = (await response.json())["error"]
    assert error == {
        "code": "conflict",
        "message": "cannot promote hello: no canary",
        "hint": "henslowe status",
        "details": {"state": "active"},
    }


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", f"{V1}/services/nobody", 404, "not_found"),
        ("GET", f"{V1}/services/nobody/versions", 404, "not_found"),
        ("GET", f"{V1}/services/nobody/logs", 404, "not_found"),
        ("POST", f"{V1}/services/nobody/build", 404, "not_found"),
        ("POST", f"{V1}/services/hello/actions/explode", 404, "not_found"),
        ("GET", f"{V1}/nothing", 404, "not_found"),
        ("GET", "/admin/v2/status", 404, "not_found"),
        ("DELETE", f"{V1}/status", 405, "bad_request"),
        ("GET", f"{V1}/stop", 405, "bad_request"),
    ],
)
async def test_what_is_not_there_is_said_in_the_error_contract(
    local: aiohttp.ClientSession, method: str, path: str, status: int, code: str
) -> None:
    async with local.request(method, path) as response:
        assert response.status == status
        error = (await response.json())["error"]
    assert error["code"] == code
    assert error["hint"]


async def test_a_wrong_method_names_the_right_one(local: aiohttp.ClientSession) -> None:
    async with local.get(f"{V1}/stop") as response:
        assert response.headers["Allow"] == "POST"


@pytest.mark.parametrize(
    ("path", "field", "words"),
    [
        (f"{V1}/events?limit=0", "limit", "at least 1"),
        (f"{V1}/events?limit=ten", "limit", "a whole number"),
        (f"{V1}/events?since=-1", "since", "at least 0"),
        (f"{V1}/events?limit=1&limit=2", "limit", "once"),
        (f"{V1}/events?stream=gossip", "stream.0", "one of"),
        (f"{V1}/events?colour=red", "colour", "one of type, service, stream"),
        (f"{V1}/services/hello/logs?version=x", "version", "a whole number"),
        (f"{V1}/events/stream?since=soon", "since", "a whole number"),
    ],
)
async def test_a_bad_query_names_the_field_and_what_was_expected(
    local: aiohttp.ClientSession, path: str, field: str, words: str
) -> None:
    async with local.get(path) as response:
        assert response.status == 400
        error = (await response.json())["error"]
    assert error["code"] == "bad_request"
    assert error["details"]["field"] == field
    assert words in error["message"]


@pytest.mark.parametrize(
    ("body", "field", "words"),
    [
        (b"{", "", "expected JSON"),
        (b"[1]", "", "expected an object"),
        (b'{"reson": "x"}', "reson", "one of reason, to_version"),
        (b'{"to_version": 0}', "to_version", "at least 1"),
        (json.dumps({"reason": "x" * 501}).encode(), "reason", "at most 500 characters"),
    ],
)
async def test_a_bad_body_names_the_field_and_what_was_expected(
    served: Served, local: aiohttp.ClientSession, body: bytes, field: str, words: str
) -> None:
    async with local.post(f"{V1}/services/hello/actions/rollback", data=body) as response:
        assert response.status == 400
        error = (await response.json())["error"]
    assert error["details"]["field"] == field
    assert words in error["message"]
    assert served.node.asked == []


async def test_a_body_beyond_the_limit_is_refused(local: aiohttp.ClientSession) -> None:
    async with local.post(f"{V1}/services/hello/actions/hold", data=b" " * 65_537) as response:
        assert response.status == 413
        assert (await response.json())["error"]["code"] == "too_large"


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        (StorageDegraded("cannot write: disk full"), 503, "storage_degraded"),
        (pykka.ActorDeadError("versions is being restarted"), 503, "unavailable"),
        (pykka.Timeout("5 s"), 503, "unavailable"),
        (ZeroDivisionError("a programmer's mistake"), 500, "error"),
    ],
)
async def test_an_error_of_the_node_has_the_status_of_its_kind(
    served: Served, local: aiohttp.ClientSession, error: Exception, status: int, code: str
) -> None:
    served.node.command_error = error
    async with local.post(f"{V1}/services/hello/actions/promote") as response:
        assert response.status == status
        body = await response.json()
    assert body["error"]["code"] == code
    assert "programmer" not in json.dumps(body)


async def test_metrics_come_from_the_registry(local: aiohttp.ClientSession) -> None:
    async with local.get("/metrics") as response:
        assert response.content_type == "text/plain"
        assert 'calls_total{service="hello"} 3.0' in await response.text()


async def test_requests_are_counted_by_route_and_status(local: aiohttp.ClientSession) -> None:
    for service in ("hello", "nobody", "nobody-else"):
        async with local.get(f"{V1}/services/{service}"):
            pass
    async with local.get("/metrics") as response:
        text = await response.text()
    path = f"{V1}/services/{{service}}"
    assert f'henslowe_admin_requests_total{{route="{path}",status="200"}} 1.0' in text
    assert f'henslowe_admin_requests_total{{route="{path}",status="404"}} 2.0' in text
    assert "henslowe_admin_streams 0.0" in text


async def test_the_configuration_shows_origins_and_hides_secrets(tmp_path: Path) -> None:
    workspace = tmp_path / "ws"
    workspace.mkdir()
    (workspace / "henslowe.toml").write_text(
        'name = "n7"\n[services.time]\ncommand = ["time"]\nenv.API_KEY = "hunter2"\n'
    )
    async with (
        serve(workspace) as served,
        aiohttp.ClientSession("http://node", connector=aiohttp.UnixConnector(served.file.socket)) as session,
        session.get(f"{V1}/config") as response,
    ):
        text = await response.text()
    rows = {row["key"]: row for row in json.loads(text)["settings"]}
    assert rows["name"] == {"key": "name", "value": "n7", "source": "file", "where": "henslowe.toml:1"}
    assert rows["services.time.env.API_KEY"]["value"] == "***"
    assert "hunter2" not in text


async def test_build_and_stop_answer_202(served: Served, local: aiohttp.ClientSession) -> None:
    async with local.post(f"{V1}/services/hello/build") as response:
        assert (response.status, (await response.json())["version"]) == (202, 6)
    async with local.post(f"{V1}/stop") as response:
        assert response.status == 202
    assert served.node.stopped.is_set()


async def test_pages_of_events_go_on_where_the_last_one_ended(served: Served, local: aiohttp.ClientSession) -> None:
    for number in range(7):
        await served.node.say("lifecycle", "PROMOTE", "SUCCESS", "hello", number + 1, raw=b"\xff", path=Path("/x"))
    seen, since = [], 0
    while True:
        async with local.get(f"{V1}/events?since={since}&limit=3&type=PROMOTE") as response:
            page = await response.json()
        seen += [event["version"] for event in page["events"]]
        since = page["next_since"]
        if not page["more"]:
            break
    assert seen == [1, 2, 3, 4, 5, 6, 7]


async def test_without_since_the_newest_events_come_oldest_first(served: Served, local: aiohttp.ClientSession) -> None:
    for number in range(5):
        await served.node.say("activity", "CALL_FAILED", service="hello", version=number)
    await served.node.say("output", "STAGE_OUTPUT", service="hello", line="not an event of the default streams")
    async with local.get(f"{V1}/events?limit=2") as response:
        page = await response.json()
    assert [event["version"] for event in page["events"]] == [3, 4]
    assert page["next_since"] == served.node.store.events.last_seq()


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        ("type=CANARY_*", [2, 3]),
        ("type=CANARY_*,PROMOTE", [2, 3, 4]),
        ("type=PROMOTE&type=CANARY_HEALTH", [3, 4]),
        ("service=other", [9]),
        ("version=3", [3]),
        ("service=hello&version=9", []),
    ],
)
async def test_filters_are_joined_by_and(
    served: Served, local: aiohttp.ClientSession, query: str, expected: list[int]
) -> None:
    for type_, service, version in (
        ("CANARY_DEPLOY", "hello", 2),
        ("CANARY_HEALTH", "hello", 3),
        ("PROMOTE", "hello", 4),
        ("ROLLBACK", "other", 9),
    ):
        await served.node.say("lifecycle", type_, "SUCCESS", service, version)
    async with local.get(f"{V1}/events?{query}") as response:
        assert [event["version"] for event in (await response.json())["events"]] == expected


async def test_logs_are_the_lines_of_one_service_version_and_stage(
    served: Served, local: aiohttp.ClientSession
) -> None:
    for service, version, source in (
        ("hello", 4, "test"),
        ("hello", 5, "test"),
        ("hello", 5, "lint"),
        ("x", 5, "test"),
    ):
        line = f"{service} {version} {source}"
        await served.node.say(
            "output", "STAGE_OUTPUT", "INFO", service, version, source=source, channel="stdout", line=line
        )
    async with local.get(f"{V1}/services/hello/logs?version=5&stage=test") as response:
        lines = (await response.json())["lines"]
    assert [line["line"] for line in lines] == ["hello 5 test"]
    assert lines[0]["channel"] == "stdout"


async def test_rare_matches_far_behind_are_found_from_the_front(served: Served, local: aiohttp.ClientSession) -> None:
    node = served.node
    await node.say("activity", "SESSION_OPENED", service="hello", version=1)
    await asyncio.gather(*(node.say("activity", "SESSION_OPENED", service="hello", version=2) for _ in range(600)))
    await node.say("activity", "SESSION_OPENED", service="hello", version=1)
    async with local.get(f"{V1}/events?since=0&version=1&limit=2") as response:
        page = await response.json()
    assert [event["version"] for event in page["events"]] == [1, 1]
    async with local.get(f"{V1}/events?version=1&limit=2") as response:
        assert len((await response.json())["events"]) == 2


def test_the_user_at_the_socket_is_known_on_uvloop_too(tmp_path: Path) -> None:
    uvloop = pytest.importorskip("uvloop")

    async def main() -> None:
        async with (
            serve(tmp_path / "ws") as served,
            aiohttp.ClientSession("http://node", connector=aiohttp.UnixConnector(served.file.socket)) as session,
            session.post(f"{V1}/services/hello/actions/hold") as response,
        ):
            assert response.status == 200
            assert served.node.asked[0][2] == f"local:{pwd.getpwuid(os.getuid()).pw_name}"

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(main())
