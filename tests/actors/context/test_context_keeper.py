"""The keeper over a real store: the document follows the directory, survives restarts and merges."""

from collections.abc import Callable

import pytest

from henslowe.actors.context import NAMESPACE, ContextKeeper, Refresh, SharedCapabilities
from henslowe.actors.context.capabilities import describe
from henslowe.actors.endpoints import EndpointDirectory
from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.kernel import KILL, Ref
from henslowe.actors.routes import Route, RouteTable
from henslowe.errors import StorageDegraded
from henslowe.storage import ContextDoc, Store
from tests.actors.conftest import OpenStore
from tests.actors.context.test_capabilities import HELLO, up


class Node:
    """What node.py would share with the keeper."""

    def __init__(self, store: Store, known: set[str] | None = None) -> None:
        self.store = store
        self.directory = EndpointDirectory()
        self.routes = RouteTable()
        self.shared = SharedCapabilities()
        self.known = known if known is not None else {"hello"}

    async def keeper(self) -> Ref:
        ref = await ContextKeeper.start_link(
            self.store,
            self.directory,
            self.routes,
            lambda: frozenset(ServiceName(name) for name in self.known),
            self.shared,
        )
        assert ref is not None
        return ref

    def seen(self) -> dict[str, int]:
        return {name: entry.version for name, entry in self.shared.current.items()}


async def settled(keeper: Ref) -> None:
    """Returns after the messages that wait now."""
    await keeper.get_state()


async def test_an_endpoint_that_comes_up_is_published_with_its_tools(store: Store) -> None:
    node = Node(store)
    keeper = await node.keeper()
    node.directory.add(up(1, "add"))
    await settled(keeper)
    assert node.shared.current[HELLO] == describe(up(1, "add"), node="n1")
    assert store.context.open(NAMESPACE).get("hello")["version"] == 1
    await keeper.stop(block=False)


async def test_what_is_up_before_the_keeper_starts_is_published_when_it_has_started(store: Store) -> None:
    node = Node(store)
    node.directory.add(up(1, "add"))
    keeper = await node.keeper()
    assert node.seen() == {"hello": 1}
    await keeper.stop(block=False)


async def test_the_route_decides_which_version_speaks(store: Store) -> None:
    node = Node(store)
    keeper = await node.keeper()
    node.routes.publish({HELLO: Route(HELLO, VersionKey(HELLO, 1), canary=VersionKey(HELLO, 2), canary_weight=1_000)})
    node.directory.add(up(1, "add"))
    node.directory.add(up(2, "add", "more"))
    await settled(keeper)
    assert node.seen() == {"hello": 1}
    node.routes.publish({HELLO: Route(HELLO, VersionKey(HELLO, 2))})
    await settled(keeper)
    assert node.seen() == {"hello": 2}
    await keeper.stop(block=False)


async def test_a_crash_of_an_instance_changes_nothing_and_writes_nothing(store: Store) -> None:
    node = Node(store)
    endpoint = up(1, "add")
    node.directory.add(endpoint)
    keeper = await node.keeper()
    updates: list[bytes] = []
    store.context.open(NAMESPACE).on_change(updates.append)
    node.directory.remove(endpoint)
    await settled(keeper)
    node.directory.add(up(1, "add"))
    await settled(keeper)
    assert node.seen() == {"hello": 1}
    assert updates == [], "each change of the document is remembered for ever"
    await keeper.stop(block=False)


async def test_the_document_survives_a_restart_without_the_services_that_left_meanwhile(
    open_store: OpenStore,
) -> None:
    async with open_store() as store:
        node = Node(store)
        node.directory.add(up(1, "add"))
        keeper = await node.keeper()
        await store.context.open(NAMESPACE).set("left", describe(up(1), node="n1").model_dump())
        await store.context.open(NAMESPACE).set("peers", describe(up(1), node="n2").model_dump())
        keeper.exit(KILL)
    async with open_store() as store:
        node = Node(store)
        keeper = await node.keeper()
        assert node.seen() == {"hello": 1, "peers": 1}
        node.known.clear()
        keeper.cast(Refresh())
        await settled(keeper)
        assert node.seen() == {"peers": 1}
        await keeper.stop(block=False)


async def test_what_a_peer_merges_in_is_published(store: Store) -> None:
    node = Node(store)
    keeper = await node.keeper()
    other = store.context.open("another document, standing in for a peer's")
    await other.set("theirs", describe(up(4), node="n2").model_dump())
    await store.context.open(NAMESPACE).merge(other.diff())
    await settled(keeper)
    assert node.seen() == {"theirs": 4}
    await keeper.stop(block=False)


async def test_a_killed_keeper_listens_no_more_and_its_snapshot_stays(store: Store) -> None:
    node = Node(store)
    node.directory.add(up(1, "add"))
    keeper = await node.keeper()
    keeper.exit(KILL)
    assert (node.directory._listeners, node.routes._listeners) == ([], [])
    assert node.seen() == {"hello": 1}


async def test_storage_that_refuses_writes_does_not_kill_the_keeper(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Node(store)
    keeper = await node.keeper()
    save: Callable[[ContextDoc], object] = ContextDoc.save

    async def refused(_: ContextDoc) -> None:
        raise StorageDegraded("cannot commit: no space left on device")

    monkeypatch.setattr(ContextDoc, "save", refused)
    node.directory.add(up(1, "add"))
    await settled(keeper)
    assert node.seen() == {"hello": 1}, "shown, though not saved yet"
    monkeypatch.setattr(ContextDoc, "save", save)
    node.directory.add(up(2, "add"))
    await settled(keeper)
    assert keeper.is_alive()
    assert node.seen() == {"hello": 2}
    await keeper.stop(block=False)
