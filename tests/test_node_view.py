"""What the status says of a service, from its rows alone."""

from __future__ import annotations

import pytest

from henslowe.actors.ids import ServiceName
from henslowe.actors.versions.rows import ServiceRow, VersionRow, VersionState
from henslowe.node_view import _failure, _state

HELLO = ServiceName("hello")


@pytest.mark.parametrize(
    ("state", "stage", "shown", "word"),
    [
        (VersionState.FAILED, "test", "test", "failed"),
        (VersionState.FAILED, "", "start", "failed"),
        (VersionState.ROLLED_BACK, "", "rollback", "active"),
        (VersionState.ROLLED_BACK, "canary", "rollback", "active"),
    ],
)
def test_a_canary_that_was_taken_back_leaves_its_service_active_and_not_failed(
    state: VersionState, stage: str, shown: str, word: str
) -> None:
    row = ServiceRow(service=HELLO, active=1)
    newest = VersionRow(service=HELLO, number=2, state=state, stage=stage, reason="because")
    failure = _failure(row, {2: newest}, healthy=True)
    assert failure is not None
    assert failure.stage == shown
    assert _state(row, None, failure, healthy=True) == word
