"""A node inside the test's own process and loop, so that a test can reach the actors of its tree and end them.

    async with inside(workspace, "delivery.strategy=immediate") as node:
        await killed(names.ROUTER)                # and somebody else holds its name

Everything is real: sockets, store, child processes. What a person would do is done in `harness`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from henslowe.actors.ids import ServiceName
from henslowe.actors.kernel import KILL, Ref
from henslowe.actors.kernel import names as registry
from henslowe.actors.versions import OUTBOX, SERVICES, VERSIONS, ServiceRow, replay
from henslowe.config.loading import Override, load
from henslowe.node import Node
from tests.e2e.harness import quick

BACK_S: Final = 10.0
"""From the death of an actor to a tree that stands and serves again."""
LIVE_S: Final = 30.0
POLL_S: Final = 0.02


@asynccontextmanager
async def inside(workspace: Path, *settings: str) -> AsyncIterator[Node]:
    """A node with its listeners open; stopped at the end."""
    overrides = [Override.parse(each) for each in ("listen=127.0.0.1:0", *settings)]
    loaded = load(workspace, overrides=overrides, environ={})  # variables of that name are the tests' own
    node = await Node.start(loaded)
    try:
        yield node
    finally:
        await node.stop()


async def until(holds: Callable[[], object], what: Callable[[], str] | str, timeout_s: float = BACK_S) -> None:
    """Returns as soon as `holds`."""
    give_up_s = time.monotonic() + timeout_s
    while not holds():
        if time.monotonic() > give_up_s:
            raise AssertionError(f"expected {what if isinstance(what, str) else what()} within {timeout_s} s")
        await asyncio.sleep(POLL_S)


async def killed(name: str) -> Ref:
    """Kills the actor that holds a name; its successor, once there is one."""
    victim = registry.whereis(name)
    assert victim is not None, f"nobody is named {name}"
    victim.exit(KILL)
    await until(lambda: registry.whereis(name) not in (None, victim), f"another actor named {name}")
    successor = await registry.via(name).up(BACK_S)
    assert not victim.is_alive()
    return successor


def row_of(node: Node, name: str) -> ServiceRow:
    """The row of a service; an empty one while there is none."""
    key = ServiceName(name)
    found = node.store.table(SERVICES).lookup(key)
    return found if found is not None else ServiceRow(service=key)


def serves(node: Node, name: str) -> bool:
    """Whether every version that should be up is, once, and its active one is routed."""
    row = row_of(node, name)
    up = [endpoint.version.number for endpoint in node.directory.of_service(row.service)]
    route = node.shared.routes.current.get(row.service)
    return route is not None and route.stable.number == row.active and sorted(up) == sorted(row.wanted)


async def whole(node: Node, name: str = "hello") -> None:
    """Returns when the service is served as its row says, and every effect was performed."""
    await until(
        lambda: serves(node, name) and settled(node),
        lambda: f"{row_of(node, name)} to be served, got {node.directory.of_service(ServiceName(name))}",
    )


async def live(node: Node, greeting: str, number: int) -> None:
    """Edits the service once its first version serves, and returns when this version of it does."""
    await until(lambda: row_of(node, "hello").active >= 1, "the first version to serve", LIVE_S)
    (node.settings.workspace / "dev/hello/server.py").write_text(quick(greeting))
    await until(
        lambda: row_of(node, "hello").active >= number and serves(node, "hello"),
        lambda: f"version {number} to serve, got {row_of(node, 'hello')}",
        LIVE_S,
    )


def states(node: Node) -> dict[int, str]:
    """The states of all versions of all services, by number."""
    return {row.number: row.state.value for row in node.store.table(VERSIONS).rows()}


def children() -> set[int]:
    """The pids of this process's living children: the servers, while no stage runs."""
    found = set()
    for folder in Path("/proc").iterdir():
        with suppress(OSError):  # it may end while we look at it
            fields = (folder / "stat").read_text().rpartition(")")[2].split() if folder.name.isdigit() else []
            if fields and fields[0] != "Z" and int(fields[1]) == os.getpid():
                found.add(int(folder.name))
    return found


def settled(node: Node) -> bool:
    """Whether no effect of any commit is waiting to be performed."""
    return not node.store.table(OUTBOX).rows()


def assert_history_gives_the_rows(node: Node) -> None:
    """Replaying the lifecycle events gives the tables, row for row."""
    services, versions = replay(node.store.events.scan(streams=("lifecycle",)))
    assert services == {row.service: row for row in node.store.table(SERVICES).rows()}
    assert versions == {row.key: row for row in node.store.table(VERSIONS).rows()}
