"""Transforms compose, invert and are found: the pure half."""

from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from henslowe.actors.ids import ServiceName
from henslowe.actors.transforms import IDENTITY, Chain, Document, Transform, TransformBook, TransformKey
from henslowe.errors import Conflict, LimitReached, NotFound

SERVICE = ServiceName("hello")


@dataclass(slots=True, frozen=True)
class Rename:
    """Renames one key: the smallest lossless transform."""

    old: str
    new: str

    @property
    def name(self) -> str:
        return f"{self.old}={self.new}"

    lossy = False

    def forward(self, document: Document) -> Document:
        return {self.new if key == self.old else key: value for key, value in document.items()}

    def backward(self, document: Document) -> Document:
        return {self.old if key == self.new else key: value for key, value in document.items()}


def key(source: int, target: int, tool: str = "greet") -> TransformKey:
    return TransformKey(SERVICE, tool, source, target)


def book_of(*pairs: tuple[int, int]) -> TransformBook:
    book = TransformBook()
    for source, target in pairs:
        book = book.with_(key(source, target), Rename(f"v{source}", f"v{target}"))
    return book


def test_a_chain_goes_forward_first_to_last_and_backward_last_to_first() -> None:
    chain = book_of((1, 2), (2, 3)).chain(key(1, 3))
    assert chain.forward({"v1": 5, "other": 6}) == {"v3": 5, "other": 6}
    assert chain.backward({"v3": 5}) == {"v1": 5}
    assert chain.name == "v1=v2 > v2=v3"
    assert chain.assumed == 0
    assert not chain.lossy


def test_a_downward_chain_is_the_upward_one_from_its_other_end() -> None:
    down = book_of((1, 2), (2, 3)).chain(key(3, 1))
    assert down.forward({"v3": 5}) == {"v1": 5}
    assert down.backward({"v1": 5}) == {"v3": 5}
    assert down.lossy, "only old to new and back is promised"
    assert down.inverted() == book_of((1, 2), (2, 3)).chain(key(1, 3))


def test_versions_without_a_transform_are_assumed_to_agree_and_counted() -> None:
    chain = book_of((3, 4)).chain(key(1, 9))
    assert chain.forward({"v3": 1}) == {"v4": 1}
    assert chain.assumed == 7
    nothing = TransformBook().chain(key(1, 2))
    assert nothing.is_identity
    assert nothing.name == "identity"
    document = {"same": "object"}
    assert nothing.forward(document) is document


def test_the_chain_that_assumes_least_wins_then_the_shortest() -> None:
    assert [s.name for s in book_of((1, 5), (1, 2), (2, 3), (3, 4)).chain(key(1, 5)).steps] == ["v1=v5"]
    assert [s.name for s in book_of((1, 2), (2, 5), (1, 4)).chain(key(1, 5)).steps] == ["v1=v2", "v2=v5"]


def test_transforms_outside_the_range_are_not_taken() -> None:
    assert book_of((1, 9), (0 + 1, 3)).chain(key(2, 5)).steps == ()


def test_an_identity_step_stays_one_through_inversion() -> None:
    chain = TransformBook().with_(key(1, 2), IDENTITY).chain(key(2, 1))
    assert chain.is_identity
    assert not chain.lossy


def test_a_pair_is_registered_once_unless_replaced() -> None:
    book = book_of((1, 2))
    with pytest.raises(Conflict, match="it has the transform 'v1=v2'"):
        book.with_(key(1, 2), IDENTITY)
    assert book.with_(key(1, 2), IDENTITY, replace=True).lookup(key(1, 2)) is IDENTITY
    assert book.lookup(key(1, 2)) == Rename("v1", "v2"), "a book never changes"


@pytest.mark.parametrize("pair", [(2, 1), (1, 1), (0, 1)])
def test_a_pair_goes_from_an_older_to_a_newer_version(pair: tuple[int, int]) -> None:
    with pytest.raises(Conflict, match="expected versions from older to newer"):
        TransformBook().with_(key(*pair), IDENTITY)


def test_unregistering_forgets_one_pair_and_refuses_an_unknown_one() -> None:
    book = book_of((1, 2), (2, 3)).without(key(1, 2))
    assert book.keys() == (key(2, 3),)
    with pytest.raises(NotFound, match="hello/greet 1->2"):
        book.without(key(1, 2))
    assert book.without(key(2, 3)) == TransformBook()


def test_tools_have_limits_and_transforms_of_their_own() -> None:
    book = book_of((1, 2)).with_(key(1, 2, "other"), IDENTITY)
    assert book.chain(key(1, 2, "other")).is_identity
    for target in range(3, 1_002):
        book = book.with_(key(1, target), IDENTITY)
    with pytest.raises(LimitReached, match="1000 transforms"):
        book.with_(key(1, 5_000), IDENTITY)


pairs = st.tuples(st.integers(1, 8), st.integers(1, 8)).filter(lambda pair: pair[0] < pair[1])


def _cheapest(edges: frozenset[tuple[int, int]], at: int, goal: int) -> tuple[int, int]:
    """The plain recursive oracle: every way is tried."""
    if at == goal:
        return (0, 0)
    assumed, length = _cheapest(edges, at + 1, goal)
    options = [(assumed + 1, length)]
    for source, target in edges:
        if source == at and target <= goal:
            assumed, length = _cheapest(edges, target, goal)
            options.append((assumed, length + 1))
    return min(options)


@given(st.frozensets(pairs, max_size=12), pairs)
def test_the_chain_costs_what_trying_every_way_costs(edges: frozenset[tuple[int, int]], goal: tuple[int, int]) -> None:
    chain = book_of(*sorted(edges)).chain(key(*goal))
    assert (chain.assumed, len(chain.steps)) == _cheapest(edges, *goal)


@given(
    st.frozensets(pairs, max_size=12),
    pairs,
    st.dictionaries(st.sampled_from(["a", "b", "c"]), st.integers(), max_size=3),
)
def test_a_chain_of_lossless_transforms_is_lossless(
    edges: frozenset[tuple[int, int]], goal: tuple[int, int], document: dict[str, int]
) -> None:
    chain: Chain | Transform = book_of(*sorted(edges)).chain(key(*goal))
    before = dict(document)
    assert chain.backward(chain.forward(document)) == before == document
