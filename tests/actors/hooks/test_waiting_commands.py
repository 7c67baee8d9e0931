"""A command that was answered "waits": it is done over restarts, once, or an event says why it is not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from bench.delivery_proof import failpoints as proof
from henslowe.actors import names
from henslowe.actors.hooks import Answer
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import Action, Command, HooksRefused, InstanceBroken, Strategy
from henslowe.actors.versions import PENDING, PendingRow
from henslowe.actors.versions.gates import Gate
from henslowe.storage import Event, Store
from tests.actors.delivery import HELLO, key, until
from tests.actors.hooks.hooked import Hooked

URL = "https://hooks.example.org/deployments"


@pytest.fixture
async def plane(store: Store, tmp_path: Path) -> AsyncIterator[Hooked]:
    hooked = Hooked(store, tmp_path / "workspace")
    hooked.workspace.mkdir()
    await hooked.start()
    yield hooked
    await hooked.stop()


async def waiting_promotion(plane: Hooked, by_action: Action = Action.PROMOTE, on: str = "promote:before") -> None:
    """Version 2 is a canary, or staged, and a person's command for it waits for a hook that does not answer."""
    await plane.ship("a")
    plane.says({"on": on, "name": "slow", "url": URL})
    plane.receiver.gate = asyncio.Event()
    await plane.build("b", Strategy.CANARY)
    await until(lambda: plane.row.canary == 2 or plane.receiver.received)
    assert "waits for its hooks" in (await plane.command(by_action, reason="looks good"))["message"]
    await until(lambda: plane.receiver.received)


async def die(plane: Hooked) -> None:
    """What the node is at its death: nothing runs any more."""
    await plane.stop(names.VERSIONS, names.HOOKS, names.ROUTER, names.INSTANCES, kill=True)
    plane.up.clear()


async def live_again(plane: Hooked) -> None:
    await plane.start(names.INSTANCES, names.ROUTER, names.HOOKS, names.VERSIONS)


def commands(plane: Hooked, status: str) -> list[Event]:
    return [each for each in plane.store.events.read(types="COMMAND") if each.status == status]


def answers(plane: Hooked, *answers: Answer) -> None:
    assert plane.receiver.gate is not None
    plane.receiver.answers = list(answers)
    plane.receiver.gate.set()


def happened(plane: Hooked, event_type: str) -> int:
    return len(plane.store.events.read(types=event_type))


async def test_it_is_done_in_the_next_life_with_the_name_of_who_said_it_and_once(plane: Hooked) -> None:
    await waiting_promotion(plane)
    await die(plane)
    assert [row.command.by for row in plane.store.table(PENDING).rows()] == ["ann"]
    answers(plane)
    await live_again(plane)
    await until(lambda: plane.row.active == 2)
    assert len(plane.store.table(PENDING)) == 0
    (said,) = commands(plane, "SUCCESS")
    assert (said.version, said.data["by"], said.data["reason"]) == (2, "ann", "looks good")
    await die(plane)
    await live_again(plane)
    await plane.command(Action.HOLD)
    assert (happened(plane, "PROMOTE"), len(commands(plane, "SUCCESS"))) == (1, 1)


async def test_hooks_that_agreed_before_the_instance_is_up_are_not_asked_again(plane: Hooked) -> None:
    await waiting_promotion(plane)
    await plane.stop(names.VERSIONS, names.INSTANCES, kill=True)
    answers(plane)
    await until(lambda: plane.ended("promote:before"))
    await die_rest(plane)
    plane.slow.add(2)
    await live_again(plane)
    await plane.command(Action.HOLD)  # heard after the start
    assert (plane.row.active, len(plane.store.table(PENDING))) == (1, 1)
    plane.slow.clear()
    await plane.stop(names.INSTANCES, kill=True)
    await plane.start(names.INSTANCES)
    await until(lambda: plane.row.active == 2)
    assert plane.receiver.ids("promote:before") == ["hello:2:2:promote:before:slow"]


async def die_rest(plane: Hooked) -> None:
    await plane.stop(names.HOOKS, names.ROUTER, kill=True)
    plane.up.clear()


async def test_a_command_for_a_staged_version_leads_it_further_than_it_goes_by_itself(plane: Hooked) -> None:
    await waiting_promotion(plane, Action.PROMOTE_FULL, "deploy:start")
    await die(plane)
    answers(plane)
    await live_again(plane)
    await until(lambda: plane.row.active == 2)
    assert happened(plane, "CANARY_DEPLOY") == 0
    assert commands(plane, "CANCELLED") == []


async def test_it_goes_on_to_the_next_gate_and_waits_there_over_a_restart_too(plane: Hooked) -> None:
    await plane.ship("a")
    plane.says(
        {"on": "deploy:start", "name": "first", "url": URL}, {"on": "promote:before", "name": "second", "url": URL}
    )
    plane.receiver.gate = asyncio.Event()
    await plane.build("b", Strategy.CANARY)
    await until(lambda: plane.receiver.ids("deploy:start"))
    await plane.command(Action.PROMOTE_FULL)
    plane.receiver.gate.set()
    plane.receiver.gate = asyncio.Event()  # of those that come from now on
    await until(lambda: plane.receiver.ids("promote:before"))
    assert [row.point.value for row in plane.store.table(PENDING).rows()] == ["promote:before"]
    await die(plane)
    answers(plane)
    await live_again(plane)
    await until(lambda: plane.row.active == 2)
    assert happened(plane, "CANARY_DEPLOY") == 0


async def test_a_refusal_ends_it_with_an_event_and_leaves_the_canary(plane: Hooked) -> None:
    await waiting_promotion(plane)
    answers(plane, Answer(403, "not today"))
    await until(lambda: commands(plane, "FAILED"))
    (said,) = commands(plane, "FAILED")
    assert (said.version, said.data["by"]) == (2, "ann")
    assert "hook slow (promote:before) refused" in said.data["message"]
    assert (plane.row.canary, len(plane.store.table(PENDING))) == (2, 0)


async def test_a_refusal_that_nobody_heard_ends_it_in_the_next_life_without_asking_again(plane: Hooked) -> None:
    await waiting_promotion(plane)
    await plane.stop(names.VERSIONS, kill=True)
    answers(plane, Answer(403, "not today"))
    await until(lambda: plane.ended("promote:before"))
    await plane.start(names.VERSIONS)
    await until(lambda: commands(plane, "FAILED"))
    assert commands(plane, "FAILED")[0].data["message"] == "its hooks refused (promote:before)"
    assert (len(plane.receiver.received), plane.row.canary, len(plane.store.table(PENDING))) == (1, 2, 0)


async def refused(plane: Hooked) -> HooksRefused:
    """The promotion of version 2 was refused; what the version machine heard of it."""
    await waiting_promotion(plane)
    answers(plane, Answer(403, "not today"))
    await until(lambda: commands(plane, "FAILED"))
    plane.receiver.gate = asyncio.Event()
    (row,) = plane.rows("promote:before")
    return HooksRefused(row.key, row.epoch, row.point, "late", row.round)


async def test_a_refusal_of_an_earlier_question_does_not_end_what_was_said_after_it(plane: Hooked) -> None:
    late = await refused(plane)
    await plane.command(Action.PROMOTE)
    registry.via(names.VERSIONS).cast(late)
    await until(lambda: len(plane.receiver.received) == 2)
    answers(plane, Answer(200, "fine"))
    await until(lambda: plane.row.active == 2)
    assert len(commands(plane, "FAILED")) == 1


async def test_the_question_that_a_command_waits_for_is_asked_in_the_next_life_if_it_was_not(plane: Hooked) -> None:
    late = await refused(plane)
    await plane.stop(names.VERSIONS, kill=True)
    gate = Gate(late.version, late.epoch, late.point)
    said = Command(late.version.service, Action.PROMOTE, "ann")
    await plane.store.table(PENDING).insert(PendingRow.of(gate, said, 1.0, late.round + 1))
    answers(plane, Answer(200, "fine"))
    await plane.start(names.VERSIONS)
    await until(lambda: plane.row.active == 2)
    assert len(plane.receiver.received) == 2


async def test_who_asks_again_before_a_refusal_is_heard_is_told_of_it_and_asks_again(plane: Hooked) -> None:
    late = await refused(plane)
    gate = Gate(late.version, late.epoch, late.point)
    said = Command(late.version.service, Action.PROMOTE, "ann")
    await plane.store.table(PENDING).insert(PendingRow.of(gate, said, 1.0, late.round))
    await plane.command(Action.PROMOTE)
    assert [each.data["message"] for each in commands(plane, "FAILED")][1:] == ["its hooks refused (promote:before)"]
    answers(plane, Answer(200, "fine"))
    await until(lambda: plane.row.active == 2)


async def test_a_version_that_is_taken_back_ends_it_in_the_same_commit(plane: Hooked) -> None:
    await waiting_promotion(plane)
    await plane.command(Action.ROLLBACK)
    assert len(plane.store.table(PENDING)) == 0
    (said,) = commands(plane, "CANCELLED")
    assert said.data["message"].startswith("hello@2 is ROLLED_BACK")
    assert (said.data["command"], said.data["by"]) == ("promote", "ann")


async def test_a_version_that_cannot_run_in_the_next_life_ends_it(plane: Hooked) -> None:
    await waiting_promotion(plane)
    await die(plane)
    plane.broken.add(2)
    await live_again(plane)
    await until(lambda: commands(plane, "CANCELLED"))
    assert commands(plane, "CANCELLED")[0].data["message"].startswith("hello@2 is ROLLED_BACK")
    answers(plane)
    await until(lambda: plane.ended("promote:before"))
    assert (plane.row.active, len(plane.store.table(PENDING))) == (1, 0)


async def test_what_became_impossible_meanwhile_is_not_done_and_said(plane: Hooked) -> None:
    await waiting_promotion(plane)
    await plane.command(Action.FREEZE)
    answers(plane)
    await until(lambda: commands(plane, "FAILED"))
    assert "cannot promote hello@2: it waits for" in commands(plane, "FAILED")[0].data["message"]
    assert plane.row.active == 1


async def test_another_command_takes_its_place_and_the_same_one_does_not(plane: Hooked) -> None:
    await waiting_promotion(plane)
    await plane.command(Action.PROMOTE, reason="looks good")
    assert (len(commands(plane, "PENDING")), commands(plane, "CANCELLED")) == (1, [])
    await plane.command(Action.PROMOTE_FULL)
    assert [each.data["message"] for each in commands(plane, "CANCELLED")] == ["ann said promote-full instead"]
    assert [row.command.action for row in plane.store.table(PENDING).rows()] == [Action.PROMOTE_FULL]


async def test_a_staged_version_that_breaks_takes_its_command_with_it(plane: Hooked) -> None:
    await waiting_promotion(plane, on="deploy:start")
    plane.tell(InstanceBroken(key(2), "exit 9"))
    await until(lambda: commands(plane, "CANCELLED"))
    assert commands(plane, "CANCELLED")[0].data["message"] == "hello@2 is FAILED: exit 9"


async def test_a_person_goes_through_without_the_hooks_and_is_named_for_it(plane: Hooked) -> None:
    await waiting_promotion(plane, on="promote:before")
    reply = await plane.call(Command(HELLO, Action.PROMOTE, "bob", skip_hooks="the hook hangs"))
    assert (reply["changed"], plane.row.active, len(plane.store.table(PENDING))) == (True, 2, 0)
    (skipped,) = plane.store.events.read(types="HOOKS_SKIPPED")
    assert (skipped.version, skipped.data["by"], skipped.data["reason"]) == (2, "bob", "the hook hangs")
    assert skipped.data["on"] == ["promote:before"]
    assert [each.data["by"] for each in commands(plane, "CANCELLED")] == ["ann"]
    answers(plane)
    await until(lambda: plane.ended("promote:before"))
    await plane.command(Action.HOLD)
    assert (plane.row.active, happened(plane, "PROMOTE")) == (2, 1)


async def test_hooks_are_said_to_be_skipped_only_where_there_are_any_to_ask(plane: Hooked) -> None:
    await plane.ship("a")
    await plane.call(Command(HELLO, Action.HOLD, "bob", skip_hooks="for no reason"))
    await plane.command(Action.RESUME)
    await plane.ship("b", Strategy.CANARY)
    await plane.call(Command(HELLO, Action.PROMOTE, "bob", skip_hooks="to be on the safe side"))
    assert plane.row.active == 2
    assert plane.store.events.read(types="HOOKS_SKIPPED") == []


def test_killed_by_the_system_between_the_answer_and_the_hooks_it_is_done_all_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    steps = ("the first edit", "a canary that hooks are asked about", "its promotion once they agree")
    monkeypatch.setattr(proof, "STEPS", {name: proof.STEPS[name] for name in steps})
    found = proof.prove(points=["versions.committed"])
    assert found["kills"] >= 4
    assert found["problems"] == []
