"""Servers that are there and do not answer are found before a client finds them."""

import asyncio
import os
import signal
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from henslowe.actors.instances import Prober
from henslowe.actors.messages import InstanceUp
from henslowe.config.settings import InstanceSettings
from tests.actors.instances.small_node import ONE, RAW, Node, small_node

SETTINGS = InstanceSettings(probe_s=0.05, probe_timeout_s=0.1, probe_failures=2)


@pytest.fixture
async def node(tmp_path: Path) -> AsyncIterator[Node]:
    async with small_node(tmp_path) as node:
        yield node


async def test_a_server_that_is_stuck_is_started_anew(node: Node) -> None:
    node.ensure(ONE, *RAW)
    await node.told(InstanceUp)
    prober = await Prober.start_link(node.board, SETTINGS, 60.0)
    pid = node.pid()
    os.kill(pid, signal.SIGSTOP)
    assert (await node.told(InstanceUp, 2)).instance == "hello@1#2"
    down = await node.event("INSTANCE_DOWN")
    assert "it is stuck: 2 probes failed" in down.data["reason"]
    await prober.stop(block=False)


async def test_a_server_that_answers_is_left_alone(node: Node) -> None:
    node.ensure(ONE, *RAW)
    await node.told(InstanceUp)
    (endpoint,) = node.directory.of(ONE)
    before_s = endpoint.answered_s  # type: ignore[attr-defined]
    prober = await Prober.start_link(node.board, SETTINGS, 60.0)
    async with asyncio.timeout(5):
        while endpoint.answered_s == before_s:  # type: ignore[attr-defined]
            await asyncio.sleep(0.001)
    assert node.directory.of(ONE) == (endpoint,)
    await prober.stop(block=False)
