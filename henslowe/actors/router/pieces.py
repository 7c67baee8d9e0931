"""What is kept of many units, packed a piece at a time: between two pieces the loop may do something else.

    pieces = yield from packed(units)       # in a generator that is gone on with now and then
    for unit in unpacked(pieces): ...

Not here: what is packed (`verdict`), and how much of it in one turn of the loop (`actor`).
"""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator
from itertools import islice
from typing import Any, Final, TypeVar

from henslowe.storage import codec

PIECE: Final = 256
"""Entries of one piece: a third of a millisecond."""

R = TypeVar("R")


def packed(entries: Iterable[Any], *, light: int = 1) -> Generator[int, None, list[bytes]]:
    """Packs entries that are plain data; yields after each piece how many it has, at most `PIECE`.

    Args:
        entries: Gone through once, as far as they are needed.
        light: How many of them count as one.
    """
    pieces, left = [], iter(entries)
    while piece := list(islice(left, PIECE * light)):
        pieces.append(codec.encode(piece))
        yield len(piece) // light
    return pieces


def unpacked(pieces: Iterable[Any]) -> Iterator[Any]:
    """The entries of `packed`; those of a Henslowe that did not pack them are given as they are.

    Raises:
        Corrupt: A piece is not what was packed.
    """
    for piece in pieces:
        if isinstance(piece, bytes):
            yield from codec.decode(piece)
        else:
            yield piece


def weighed(work: Generator[int, None, R], times: int) -> Generator[int, None, R]:
    """The same work, each step of which counts so many times as much."""
    while True:
        try:
            cost = next(work)
        except StopIteration as made:
            result: R = made.value
            return result
        yield cost * times


def at_once(work: Generator[int, None, R]) -> R:
    """Goes on to the end, and gives what is made."""
    while True:
        try:
            next(work)
        except StopIteration as made:
            result: R = made.value
            return result
