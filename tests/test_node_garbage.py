"""Full collections of garbage wait for a quiet moment."""

from __future__ import annotations

import pytest

from henslowe.node_garbage import GEN1_DUE, LOOK_S, QUIET_SHARE, due, rest_s


@pytest.mark.parametrize(
    ("since", "share", "expected"),
    [(GEN1_DUE, 0.0, True), (GEN1_DUE - 1, 0.0, False), (GEN1_DUE, QUIET_SHARE, False), (50 * GEN1_DUE, 0.9, False)],
    ids=["worth it and quiet", "not worth it", "worth it and busy", "long overdue and busy"],
)
def test_garbage_is_collected_when_it_is_worth_it_and_nobody_waits(since: int, share: float, expected: bool) -> None:
    assert due(since, share) is expected


def test_what_stops_the_loop_for_long_is_seldom_and_what_is_nothing_waits_for_nothing() -> None:
    """A node with ten thousand waiting calls has some million objects to look at, an idle one a few thousand."""
    assert rest_s(1_000_000) >= 180.0
    assert rest_s(3_000) <= LOOK_S
