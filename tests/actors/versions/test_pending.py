"""Commands that wait for hooks, as rows: what is kept of them, and when there is nothing left to do for one."""

from __future__ import annotations

from dataclasses import fields, replace

import pytest

from henslowe.actors.messages import Action, Command
from henslowe.actors.versions import PendingRow, ServiceRow, State, VersionRow, VersionState
from henslowe.actors.versions.gates import Gate
from henslowe.actors.versions.pending import PENDING, began, overtaken
from henslowe.config.hooks import HookPoint
from henslowe.storage import codec
from tests.actors.delivery import HELLO, key

GATE = Gate(key(2), 4, HookPoint.PROMOTE_BEFORE)
SAID = Command(
    HELLO,
    Action.PROMOTE,
    "ann",
    reason="looks good",
    expected_epoch=4,
    to_version=2,
    until_s=9.0,
    override_freeze="urgent",
    skip_hooks="they hang",
)
ROW = PendingRow.of(GATE, SAID, 100.0)


def state(row: VersionRow | None, **service: int) -> State:
    return State(ServiceRow(service=HELLO, **service), {row.number: row} if row is not None else {})


def test_a_command_is_kept_word_for_word_with_its_gate() -> None:
    assert all(getattr(SAID, each.name) for each in fields(SAID)), "expected each field to be said, so that it is kept"
    read = PENDING.decode(PENDING.encode(ROW), PENDING.schema)
    assert (read.command, read.gate, read.since_s) == (SAID, GATE, 100.0)


def test_a_row_that_had_the_command_among_its_own_fields_is_understood() -> None:
    fields_then = codec.decode(PENDING.encode(ROW))
    said = fields_then.pop("command")
    del said["skip_hooks"]
    read = PENDING.decode(codec.encode({**fields_then, **said}), 1)
    assert read == ROW.model_copy(update={"command": replace(SAID, skip_hooks="")})


@pytest.mark.parametrize("place", ["staged", "canary"])
def test_there_is_something_to_do_while_its_version_is_on_its_way_in_its_epoch(place: str) -> None:
    row = VersionRow(service=HELLO, number=2, state=VersionState.CANARY)
    assert overtaken(ROW, state(row, epoch=4, **{place: 2})) == ""


def test_nothing_is_left_to_do_once_its_version_is_gone_over_or_in_another_epoch() -> None:
    canary = VersionRow(service=HELLO, number=2, state=VersionState.CANARY)
    failed = VersionRow(service=HELLO, number=2, state=VersionState.FAILED, reason="exit 1")
    assert overtaken(ROW, State()) == "hello@2 is gone"
    assert overtaken(ROW, state(None, epoch=4, canary=3)) == "hello@2 is gone"
    assert overtaken(ROW, state(failed, epoch=4, staged=3)) == "hello@2 is FAILED: exit 1"
    assert overtaken(ROW, state(canary, epoch=5, canary=2)) == "the rollout of hello@2 went on meanwhile (epoch 5)"


def test_that_it_waits_is_said_with_who_and_why() -> None:
    event = began(ROW)
    assert (event.type, event.status, event.version) == ("COMMAND", "PENDING", 2)
    assert event.data == {
        "command": "promote",
        "by": "ann",
        "reason": "looks good",
        "epoch": 4,
        "message": "waits for hooks (promote:before)",
    }
