"""What is written of a service: pure."""

from dataclasses import dataclass, field
from typing import Any

import msgpack
import pytest

from henslowe.actors.context.capabilities import Capabilities, describe, gone, parse, representative
from henslowe.actors.endpoints import Contract, Endpoint, EndpointState, Era, ServerFacts
from henslowe.actors.ids import InstanceId, ServiceName, VersionKey
from henslowe.storage.context import VALUE_BYTES_MAX

HELLO = ServiceName("hello")


@dataclass(slots=True)
class Up:
    """An endpoint that is up; nobody calls it here."""

    version: VersionKey
    contract: Contract = field(default_factory=Contract)
    instance: InstanceId = field(default_factory=lambda: InstanceId("hello@1#1"))
    state: EndpointState = EndpointState.READY
    in_flight: int = 0
    facts: ServerFacts = field(
        default_factory=lambda: ServerFacts(Era.LEGACY, "2025-11-25", {"name": "hello", "version": "1.2"}, {})
    )

    async def request(self, *_: Any, **__: Any) -> dict[str, Any]:
        raise AssertionError("not called")

    def notify(self, method: str, params: dict[str, Any] | None) -> None:
        raise AssertionError("not called")


def up(number: int, *tools: str, digest: str = "d") -> Endpoint:
    return Up(VersionKey(HELLO, number), Contract(tools=tuple({"name": tool} for tool in tools), digest=digest))


def test_an_entry_names_what_is_offered_with_digests_that_change_with_the_listing() -> None:
    first = describe(up(3, "add", "greet"), node="n1")
    assert (first.version, first.server, first.protocol_version) == (3, "hello 1.2", "2025-11-25")
    assert list(first.tools) == ["add", "greet"]
    changed = Up(VersionKey(HELLO, 3), Contract(tools=({"name": "add", "title": "Add"}, {"name": "greet"})))
    second = describe(changed, node="n1")
    assert second.tools["add"] != first.tools["add"]
    assert second.tools["greet"] == first.tools["greet"]


def test_a_digest_does_not_depend_on_the_order_of_keys() -> None:
    one = Up(VersionKey(HELLO, 1), Contract(tools=({"name": "a", "title": "b"},)))
    other = Up(VersionKey(HELLO, 1), Contract(tools=({"title": "b", "name": "a"},)))
    assert describe(one, node="n1") == describe(other, node="n1")


def test_an_entry_of_any_contract_fits_into_the_document_and_says_what_it_left_out() -> None:
    huge = Contract(
        tools=tuple({"name": f"{n:05d}" + "ß" * 200} for n in range(2_000)),
        resources=tuple({"uri": f"file:///{n}"} for n in range(2_000)),
    )
    entry = describe(Up(VersionKey(HELLO, 1), huge), node="n1")
    assert len(msgpack.packb(entry.model_dump())) < VALUE_BYTES_MAX
    assert len(entry.tools) + len(entry.resources) + entry.left_out == 4_000
    assert len(entry.tools) > 100


@pytest.mark.parametrize(
    ("stable", "numbers", "expected"), [(2, [1, 2, 3], 2), (9, [1, 3, 2], 3), (None, [1, 2], 2), (2, [], None)]
)
def test_the_stable_version_speaks_for_its_service_else_the_newest(
    stable: int | None, numbers: list[int], expected: int | None
) -> None:
    key = VersionKey(HELLO, stable) if stable is not None else None
    found = representative(key, [up(number) for number in numbers])
    assert (found.version.number if found else None) == expected


def test_entries_that_cannot_be_read_are_left_out_and_newer_fields_ignored() -> None:
    entry = describe(up(1, "add"), node="n2")
    document = {"hello": {**entry.model_dump(), "from_the_future": 1}, "bad": {"version": "x"}, "worse": 7}
    assert parse(document) == {"hello": entry}


def test_a_node_removes_its_own_entries_only() -> None:
    mine = Capabilities(node="n1", version=1, protocol_version="", contract_digest="")
    theirs = mine.model_copy(update={"node": "n2"})
    entries = {ServiceName("a"): mine, ServiceName("b"): mine, ServiceName("c"): theirs}
    assert gone(entries, frozenset({ServiceName("a")}), node="n1") == ["b"]
