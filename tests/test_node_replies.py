"""What the status says of a service, from its rows alone."""

from __future__ import annotations

from typing import Any

import pytest

from henslowe.actors.ids import ServiceName
from henslowe.actors.versions.rows import ServiceRow, VersionRow, VersionState
from henslowe.node_replies import failure_reply, state_word, unserved

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
    failure = failure_reply(row, {2: newest}, healthy=True)
    assert failure is not None
    assert failure.stage == shown
    assert state_word(row, None, failure, healthy=True) == word


@pytest.mark.parametrize(
    ("newest", "why"),
    [
        ({"state": VersionState.FAILED, "reason": "cannot open it\nTraceback"}, "v2 failed at start (cannot open it)"),
        ({"state": VersionState.FAILED, "stage": "test"}, "v2 failed at test"),
        ({"state": VersionState.DEVELOPMENT}, "v2 is being built"),
        ({"state": VersionState.STAGED}, "v2 is starting"),
        ({"state": VersionState.SUPERSEDED}, "v2 is SUPERSEDED"),
    ],
)
def test_why_nothing_serves_is_said_by_the_newest_version(newest: dict[str, Any], why: str) -> None:
    version = VersionRow(service=HELLO, number=2, **newest)
    assert unserved(ServiceRow(service=HELLO, last_number=2), version) == f"hello has no active version: {why}"
