"""The collection of transforms, per service, tool and pair of versions: immutable, so a reader holds a consistent view.

`chain` finds how to read a document between any two versions. Versions between which nothing is registered are assumed
to agree, since most edits do not touch a tool's contract; the chain says for how many steps it assumed so.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Final, NamedTuple, Self

from henslowe.actors.ids import ServiceName
from henslowe.actors.transforms.algebra import Chain, Transform
from henslowe.errors import Conflict, LimitReached, NotFound

TRANSFORMS_PER_TOOL_MAX: Final = 1_000
"""Most transforms of one tool: far more than versions are kept, and small enough for a search per lookup."""


class TransformKey(NamedTuple):
    """Which documents a transform reads: of one tool of a service, from version number `source` to `target`."""

    service: ServiceName
    tool: str
    source: int
    target: int

    def __str__(self) -> str:
        return f"{self.service}/{self.tool} {self.source}->{self.target}"


_Edges = Mapping[tuple[int, int], Transform]


@dataclass(slots=True, frozen=True)
class TransformBook:
    """All registered transforms. `with_` and `without` give a new book and leave this one as it is."""

    _edges: Mapping[tuple[ServiceName, str], _Edges] = field(default_factory=lambda: MappingProxyType({}))

    def with_(self, key: TransformKey, transform: Transform, *, replace: bool = False) -> Self:
        """This book and one more transform.

        Raises:
            Conflict: The pair is not from an older to a newer version, or has a transform and `replace` is False.
            LimitReached: The tool has `TRANSFORMS_PER_TOOL_MAX` transforms.
        """
        if not 1 <= key.source < key.target:
            raise Conflict(
                f"cannot register {key}: expected versions from older to newer, got {key.source} and {key.target}",
                hint="register the transform from the older version; the other direction is its backward function",
            )
        edges = self._edges.get((key.service, key.tool), MappingProxyType({}))
        pair = (key.source, key.target)
        if pair in edges and not replace:
            raise Conflict(
                f"cannot register {key}: it has the transform {edges[pair].name!r}",
                hint="unregister it first, or register with replace=True",
            )
        if pair not in edges and len(edges) >= TRANSFORMS_PER_TOOL_MAX:
            raise LimitReached(
                f"cannot register {key}: the tool has {len(edges)} transforms, which is the limit",
                hint="unregister transforms between versions that are gone",
            )
        return type(self)(_replaced(self._edges, key, {**edges, pair: transform}))

    def without(self, key: TransformKey) -> Self:
        """This book without one transform.

        Raises:
            NotFound: It is not registered.
        """
        edges = dict(self._edges.get((key.service, key.tool), {}))
        if edges.pop((key.source, key.target), None) is None:
            raise NotFound(f"cannot unregister {key}: no such transform")
        return type(self)(_replaced(self._edges, key, edges))

    def lookup(self, key: TransformKey) -> Transform | None:
        """The transform registered for exactly this pair."""
        return self._edges.get((key.service, key.tool), {}).get((key.source, key.target))

    def keys(self) -> tuple[TransformKey, ...]:
        """All registered pairs, sorted."""
        return tuple(
            sorted(TransformKey(*where, *pair) for where, edges in self._edges.items() for pair in edges),
        )

    def chain(self, key: TransformKey) -> Chain:
        """How documents of version `source` are read by version `target`, whichever is newer.

        The chain assumes agreement for as few version steps as possible, and among those takes the fewest transforms.
        """
        edges = self._edges.get((key.service, key.tool), {})
        if key.source > key.target:
            return _best_chain(edges, key.target, key.source).inverted()
        return _best_chain(edges, key.source, key.target)


class _Way(NamedTuple):
    """A way up to some version, ordered by what it costs; `pairs` also decides between equals, for stability."""

    assumed: int
    length: int
    pairs: tuple[tuple[int, int], ...]


def _best_chain(edges: _Edges, oldest: int, newest: int) -> Chain:
    """Shortest path upwards over the versions where registered transforms begin or end (a line, so one pass does)."""
    inside = sorted(pair for pair in edges if oldest <= pair[0] and pair[1] <= newest)
    stops = sorted({oldest, newest, *(version for pair in inside for version in pair)})
    ways: dict[int, _Way] = {oldest: _Way(0, 0, ())}
    for before, here in itertools.pairwise(stops):
        below = ways[before]
        candidates = [_Way(below.assumed + here - before, below.length, below.pairs)]
        for source, target in inside:
            if target == here:
                way = ways[source]
                candidates.append(_Way(way.assumed, way.length + 1, (*way.pairs, (source, target))))
        ways[here] = min(candidates)
    best = ways[newest]
    return Chain(tuple(edges[pair] for pair in best.pairs), best.assumed)


def _replaced(
    book: Mapping[tuple[ServiceName, str], _Edges], key: TransformKey, edges: dict[tuple[int, int], Transform]
) -> Mapping[tuple[ServiceName, str], _Edges]:
    where = (key.service, key.tool)
    rest = {tool: others for tool, others in book.items() if tool != where}
    if edges:
        rest[where] = MappingProxyType(edges)
    return MappingProxyType(rest)
