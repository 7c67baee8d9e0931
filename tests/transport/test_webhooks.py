"""Webhooks over real HTTP: what arrives, what is refused, and that nothing leads elsewhere."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from henslowe.errors import Forbidden, Unavailable
from henslowe.transport.webhooks import ANSWER_BYTES_MAX, Webhooks


@pytest.fixture
async def receiver() -> AsyncIterator[tuple[str, list[Any]]]:
    """A server on loopback, and what it received."""
    received: list[Any] = []

    async def post(request: web.Request) -> web.StreamResponse:
        received.append((request.path, dict(request.headers), await request.read()))
        match request.path:
            case "/slow":
                await asyncio.Event().wait()
            case "/moved":
                raise web.HTTPTemporaryRedirect("/elsewhere")
            case "/long":
                return web.Response(text="x" * 3 * ANSWER_BYTES_MAX)
        return web.Response(status=202, text="thanks")

    app = web.Application()
    app.router.add_post("/{path:.*}", post)
    async with TestServer(app) as server:
        yield str(server.make_url("")).rstrip("/"), received


async def post(url: str, *, private: bool = True, allow: tuple[str, ...] = (), timeout_s: float = 5.0) -> Any:
    return await Webhooks(allow).post(url, b"{}", {"webhook-id": "1"}, timeout_s=timeout_s, private=private)


async def test_the_body_and_headers_arrive_and_the_beginning_of_the_answer_is_kept(receiver: Any) -> None:
    url, received = receiver
    answer = await post(f"{url}/x")
    assert (answer.status, answer.text) == (202, "thanks")
    ((path, headers, body),) = received
    assert (path, headers["webhook-id"], body) == ("/x", "1", b"{}")
    assert len((await post(f"{url}/long")).text) == ANSWER_BYTES_MAX


async def test_a_redirect_is_an_answer_and_is_not_followed(receiver: Any) -> None:
    url, received = receiver
    assert (await post(f"{url}/moved")).status == 307
    assert [path for path, _, _ in received] == ["/moved"]


async def test_who_does_not_answer_in_time_or_is_not_there_is_unavailable(receiver: Any) -> None:
    url, _ = receiver
    with pytest.raises(Unavailable, match=r"cannot post to http://.*/slow: did not answer within 0\.05 s"):
        await post(f"{url}/slow?key=hidden", timeout_s=0.05)
    with pytest.raises(Unavailable, match="cannot post to http://127"):
        await post("http://127.0.0.1:1/x")


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "localhost",
        "10.1.2.3",
        "192.168.1.1",
        "[::1]",
        "[::ffff:127.0.0.1]",
        "[fd00::1]",
        "0x7f.1",
        "169.254.169.254",
        "[fe80::1]",
        "0.0.0.0",
        "224.0.0.1",
    ],
)
async def test_a_service_reaches_no_private_address_however_it_is_written(host: str) -> None:
    with pytest.raises(Forbidden, match="its address may not be reached by this hook"):
        await post(f"http://{host}:9/x", private=False)


@pytest.mark.parametrize("host", ["127.1", "2130706433"])
async def test_an_address_in_an_unusual_form_is_none(host: str) -> None:
    with pytest.raises(Unavailable, match="is not a canonical IPv4 address"):
        await post(f"http://{host}:9/x", private=True)


@pytest.mark.parametrize("host", ["169.254.169.254", "[fe80::1]", "0.0.0.0", "224.0.0.1", "[::ffff:169.254.169.254]"])
async def test_the_node_itself_reaches_no_address_where_clouds_keep_credentials(host: str) -> None:
    with pytest.raises(Forbidden):
        await post(f"http://{host}:9/x", private=True)


async def test_a_network_that_is_allowed_may_be_reached_by_all(receiver: Any) -> None:
    url, received = receiver
    await post(f"{url}/x", private=False, allow=("127.0.0.0/8",))
    await post(f"{url.replace('127.0.0.1', 'localhost')}/y", private=False, allow=("127.0.0.0/8",))
    assert len(received) == 2
