"""A few kills of the proof's: the whole of it is `make prove-delivery`."""

from __future__ import annotations

import pytest

from bench.delivery_proof import failpoints as proof
from henslowe.actors import failpoints


def test_a_plane_that_is_killed_between_commit_and_effects_is_whole_again() -> None:
    found = proof.prove(1, ["versions.committed", "versions.after_effect"])
    assert found["kills"] >= 5
    assert found["problems"] == []


def test_only_places_that_exist_can_be_armed() -> None:
    with pytest.raises(ValueError, match="expected one of"):
        failpoints.arm("versions.nowhere", lambda: None)


def test_a_disarmed_place_does_nothing() -> None:
    reached: list[str] = []
    failpoints.arm("versions.cleared", lambda: reached.append("x"))
    failpoints.reach("versions.cleared")
    failpoints.disarm()
    failpoints.reach("versions.cleared")
    assert reached == ["x"]
