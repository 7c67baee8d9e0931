"""Hooks over a real store, bus and version machine: what is asked is waited for, what is told arrives, over crashes."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from henslowe.actors import names
from henslowe.actors.hooks import Answer, HookState, complaints, keeper
from henslowe.actors.hooks.running import Surroundings
from henslowe.actors.interceptors import Interceptor, Operation
from henslowe.actors.messages import Action, InstanceBroken, Strategy
from henslowe.actors.pipeline import workdir
from henslowe.config.hooks import NodeHook
from henslowe.errors import Unavailable
from henslowe.storage import Store
from tests.actors.delivery import key, until
from tests.actors.hooks.hooked import Hooked

URL = "https://hooks.example.org/deployments"


@pytest.fixture
async def plane(store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hooked]:
    monkeypatch.setattr(keeper, "BACKOFF_FIRST_S", 0.005)
    hooked = Hooked(store, tmp_path / "workspace")
    hooked.workspace.mkdir()
    await hooked.start()
    yield hooked
    await hooked.stop()


async def test_a_version_meets_traffic_once_its_hook_agrees_which_gets_the_facts(plane: Hooked) -> None:
    plane.says({"on": "deploy:start", "command": "cat; pwd"})
    await plane.ship("a")
    (row,) = plane.rows("deploy:start")
    facts, folder = row.output.splitlines()
    assert (row.state, row.attempts) == (HookState.DONE, 1)
    assert json.loads(facts) | {"time_s": 0} == {
        "id": "hello:1:0:deploy:start:deploy-start-1",
        "hook": "deploy-start-1",
        "on": "deploy:start",
        "service": "hello",
        "version": 1,
        "semver": "1.0.0",
        "state": "STAGED",
        "build": plane.version(1).build,
        "tools": [],
        "reason": "",
        "stage": "",
        "active": None,
        "epoch": 0,
        "time_s": 0,
        "attempt": 1,
    }
    assert folder == str(plane.workspace.resolve() / "archive/hello/v1.0.0")


async def test_a_version_that_is_refused_fails_and_the_one_that_serves_goes_on(plane: Hooked) -> None:
    await plane.ship("a")
    plane.says({"on": "deploy:start", "name": "calendar", "command": "echo no deployments today; exit 3"})
    await plane.build("b")
    await until(lambda: plane.states()[2] == "FAILED")
    row = plane.version(2)
    assert row.stage == "deploy:start"
    assert row.reason == (
        "hook calendar (deploy:start) refused: expected exit code 0, got exit code 3\nno deployments today"
    )
    assert (plane.row.active, plane.row.staged) == (1, 0)
    plane.says()
    assert await plane.ship("c") == 3


async def test_a_pipeline_that_starts_meanwhile_takes_nothing_from_a_hook_that_runs(
    plane: Hooked, tmp_path: Path
) -> None:
    begun, go = tmp_path / "begun", tmp_path / "go"
    script = f'touch {begun}; while [ ! -e {go} ]; do sleep 0.01; done; test -d "$HOME" && test -d "$TMPDIR"'
    plane.says({"on": "deploy:start", "command": script})
    await plane.build("a")
    await until(begun.exists)
    workdir.sweep(plane.store.data_dir / "runs")
    go.touch()
    await until(lambda: plane.ended("deploy:start"))
    await until(lambda: plane.row.active == 1)


async def test_what_a_killed_hook_left_is_swept_at_the_start(plane: Hooked) -> None:
    runs = Surroundings.of(plane.store, plane.settings, plane.receiver, plane.interceptors, marker="n1:1").runs
    await plane.stop(names.HOOKS, kill=True)
    (runs / "left" / "home").mkdir(parents=True)
    await plane.start(names.HOOKS)
    await until(lambda: not runs.exists())


async def test_one_refusal_ends_the_questions_and_nobody_after_it_is_asked(plane: Hooked) -> None:
    plane.says(
        {"on": "deploy:start", "name": "first", "command": "exit 0"},
        {"on": "deploy:start", "name": "second", "command": "exit 1"},
        {"on": "deploy:start", "name": "third", "url": URL},
    )
    await plane.build("a")
    await until(lambda: plane.states()[1] == "FAILED")
    assert [(row.name, row.state.value) for row in plane.rows()] == [
        ("first", "done"),
        ("second", "failed"),
        ("third", "failed"),
    ]
    assert plane.receiver.received == []


async def test_a_hook_that_does_not_end_is_ended_and_refuses(plane: Hooked) -> None:
    plane.says({"on": "deploy:start", "command": "sleep 100", "timeout_s": 0.05})
    await plane.build("a")
    await until(lambda: plane.states()[1] == "FAILED")
    assert "expected an end within 0.05 s, got none; it was killed" in plane.version(1).reason


async def test_a_canary_whose_promotion_is_refused_stays_one_until_a_person_asks_again(plane: Hooked) -> None:
    await plane.ship("a")
    plane.says({"on": "promote:before", "name": "smoke", "url": URL})
    plane.receiver.answers = [Answer(500, "not today"), Answer(200, "fine")]
    await plane.ship("b", Strategy.CANARY)
    reply = await plane.command(Action.PROMOTE)
    assert reply["message"] == "hello@2 waits for its hooks (promote:before); see `henslowe hooks hello`"
    await until(lambda: plane.ended("promote:before"))
    assert plane.states()[2] == "CANARY"
    await plane.command(Action.PROMOTE)
    await until(lambda: plane.row.active == 2)
    assert plane.receiver.ids("promote:before") == [
        "hello:2:2:promote:before:smoke",
        "hello:2:2:promote:before:smoke#2",
    ]


async def test_a_promotion_that_was_refused_is_not_done_to_the_next_version(plane: Hooked) -> None:
    await plane.ship("a")
    plane.says({"on": "deploy:start", "url": URL})
    plane.receiver.answers, plane.receiver.gate = [Answer(403, "")], asyncio.Event()
    await plane.build("b", Strategy.CANARY)
    await until(lambda: plane.receiver.received)
    assert "waits for its hooks" in (await plane.command(Action.PROMOTE))["message"]
    plane.receiver.gate.set()
    await until(lambda: plane.states()[2] == "FAILED")
    await plane.ship("c", Strategy.CANARY)
    await plane.command(Action.HOLD)  # heard after everything that the hooks' answer led to
    assert (plane.row.active, plane.row.canary) == (1, 3)


async def test_going_back_asks_nobody(plane: Hooked) -> None:
    await plane.ship("a")
    await plane.ship("b")
    plane.says({"on": "deploy:start", "command": "exit 1"}, {"on": "promote:before", "command": "exit 1"})
    await plane.command(Action.ROLLBACK)
    await until(lambda: plane.row.active == 1)
    assert not plane.rows()


async def test_a_question_without_an_answer_is_asked_again_after_a_crash_under_the_same_id(plane: Hooked) -> None:
    plane.says({"on": "deploy:start", "name": "ask", "url": URL})
    plane.receiver.gate = asyncio.Event()
    await plane.build("a")
    await until(lambda: plane.receiver.received)
    await plane.stop(names.VERSIONS, names.HOOKS, kill=True)
    plane.receiver.gate.set()
    await plane.start(names.HOOKS, names.VERSIONS)
    await until(lambda: plane.row.active == 1)
    assert plane.receiver.ids("deploy:start") == ["hello:1:0:deploy:start:ask"] * 2


async def test_a_refusal_that_nobody_heard_fails_the_staged_version_after_a_crash(plane: Hooked) -> None:
    await plane.ship("a")
    plane.says({"on": "deploy:start", "name": "ask", "url": URL})
    plane.receiver.gate = asyncio.Event()
    await plane.build("b")
    await until(lambda: plane.receiver.received)
    await plane.stop(names.VERSIONS, kill=True)
    plane.receiver.answers = [Answer(403, "not today")]
    plane.receiver.gate.set()
    await until(lambda: plane.ended("deploy:start"))
    await plane.stop(names.HOOKS, kill=True)
    await plane.start(names.HOOKS, names.VERSIONS)
    await until(lambda: plane.states() == {1: "ACTIVE", 2: "FAILED"})
    assert plane.version(2).reason.startswith("hook ask (deploy:start) refused: ")
    assert (len(plane.receiver.received), plane.row.staged) == (1, 0)


async def test_an_answer_about_a_rollout_that_went_on_counts_for_nothing(plane: Hooked) -> None:
    await plane.ship("a")
    plane.says({"on": "promote:before", "name": "slow", "url": URL})
    plane.receiver.gate = asyncio.Event()
    await plane.ship("b", Strategy.CANARY)
    await plane.command(Action.PROMOTE)
    await until(lambda: plane.receiver.received)
    await plane.command(Action.ROLLBACK)
    plane.receiver.gate.set()
    await until(lambda: plane.ended("promote:before"))
    assert (plane.row.active, plane.states()[2]) == (1, "ROLLED_BACK")


async def test_news_arrives_at_all_who_want_it_and_again_where_it_did_not(plane: Hooked) -> None:
    plane.says({"on": "promote:after", "name": "chat", "url": URL}, {"on": "rollback:after", "command": "cat"})
    plane.receiver.answers = [Unavailable("cannot post"), Answer(503, "busy")]
    await plane.ship("a")
    await until(lambda: plane.ended("promote:after"))
    (row,) = plane.rows("promote:after")
    assert (row.state, row.attempts, row.reason) == (HookState.DONE, 3, "")
    assert len(set(plane.receiver.ids("promote:after"))) == 1
    assert [each["attempt"] for each in plane.receiver.received] == [1, 2, 3]
    assert plane.receiver.received[0]["event"]["type"] == "DEPLOY_COMPLETE"
    assert plane.receiver.private == [False] * 3
    await plane.ship("b")
    await plane.command(Action.ROLLBACK)
    await until(lambda: plane.ended("rollback:after"))
    assert json.loads(plane.rows("rollback:after")[0].output)["version"] == 2


async def test_news_that_cannot_be_brought_changes_nothing_and_is_complained_about(plane: Hooked) -> None:
    plane.says({"on": "promote:after", "name": "chat", "url": URL, "attempts": 2})
    plane.receiver.answers = [Answer(502, "") for _ in range(2)]
    await plane.ship("a")
    await until(lambda: plane.ended("promote:after"))
    assert plane.row.active == 1
    assert [(row.name, row.reason) for row in complaints(plane.rows())] == [
        ("chat", "expected an answer of 2xx, got 502")
    ]
    assert plane.board.ended["promote:after", "failed"] == 1
    await until(lambda: plane.store.events.read(types="HOOK_COMPLETE"))
    said = plane.store.events.read(types="HOOK_COMPLETE")
    assert [(each.status, each.data["hook"]) for each in said] == [("FAILED", "chat")]
    await plane.ship("b")
    await until(lambda: len(plane.rows("promote:after")) == 2 and plane.ended("promote:after"))
    assert complaints(plane.rows()) == []


async def test_what_happened_while_the_keeper_was_away_is_news_when_it_is_back(plane: Hooked) -> None:
    plane.says({"on": "promote:after", "name": "chat", "url": URL})
    await plane.stop(names.HOOKS, kill=True)
    await plane.ship("a")
    assert plane.receiver.received == []
    await plane.start(names.HOOKS)
    await until(lambda: plane.receiver.ids("promote:after"))


async def test_the_node_has_hooks_of_its_own_for_the_services_it_names(plane: Hooked) -> None:
    await plane.stop(names.VERSIONS, names.HOOKS)
    plane.node_hooks = {
        "mine": NodeHook(on="deploy:start", url="http://127.0.0.1/x", services=("hel*",)),
        "other": NodeHook(on="deploy:start", command=("false",), services=("billing",)),
        "down": NodeHook(on="failed", command=("cat",)),
    }
    await plane.start(names.HOOKS, names.VERSIONS)
    number = await plane.ship("a")
    assert plane.receiver.ids("deploy:start") == ["hello:1:0:deploy:start:mine"]
    assert plane.receiver.private == [True]
    plane.broken.add(number + 1)
    await plane.build("b")
    await until(lambda: plane.ended("failed"))
    (row,) = plane.rows("failed")
    told = json.loads(row.output)
    assert (told["version"], told["stage"], told["reason"]) == (2, "start", "exit 1")


async def test_an_interceptor_is_asked_before_and_told_after(plane: Hooked) -> None:
    heard: list[tuple[str, Operation]] = []

    async def before(operation: Operation) -> None:
        heard.append(("before", operation))
        if operation.version == 2:
            raise ValueError("not this one")

    async def after(operation: Operation) -> None:
        heard.append(("after", operation))

    plane.interceptors.register(Interceptor("guard", before=before, after=after))
    await plane.ship("a")
    await until(lambda: len(heard) == 2)
    await plane.build("b")
    await until(lambda: plane.states()[2] == "FAILED")
    assert plane.version(2).reason == ("interceptor guard (deploy:start) refused: interceptor 'guard': not this one")
    assert [(when, each.kind.value, each.version) for when, each in heard] == [
        ("before", "deploy", 1),
        ("after", "deploy", 1),
        ("before", "deploy", 2),
    ]


async def test_an_instance_that_went_down_while_its_hooks_were_asked_meets_no_traffic(plane: Hooked) -> None:
    plane.says({"on": "deploy:start", "name": "slow", "url": URL})
    plane.receiver.gate = asyncio.Event()
    await plane.build("a")
    await until(lambda: plane.receiver.received)
    plane.tell(InstanceBroken(key(1), "exit 9"))
    await until(lambda: plane.states()[1] == "FAILED")
    plane.receiver.gate.set()
    await until(lambda: plane.ended("deploy:start"))
    assert (plane.row.active, plane.version(1).reason) == (0, "exit 9")
