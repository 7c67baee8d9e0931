from __future__ import annotations

import datetime as dt
import json

import pytest

from henslowe.cli.freezing import until_s
from tests.cli.conftest import Henslowe
from tests.transport.admin.background import Background


@pytest.mark.parametrize("action", ["promote", "rollback", "hold", "resume", "restart", "remove"])
def test_a_command_is_carried_out_with_its_reason_and_says_what_became_of_it(
    node: Background, henslowe: Henslowe, action: str
) -> None:
    run = henslowe(action, "hello", "--reason", "because")
    assert run.exit_code == 0
    assert "hello: v" in run.out
    assert "next: henslowe " in run.out
    ((service, asked, by, reason, to_version, epoch),) = node.node.asked
    assert (service, asked, reason, to_version, epoch) == ("hello", action, "because", None, None)
    assert by.startswith("local:")


def test_a_command_as_json_is_the_nodes_reply(node: Background, henslowe: Henslowe) -> None:
    assert henslowe("promote", "hello", "--json").json == {
        "service": "hello",
        "action": "promote",
        "state": "active",
        "version": 4,
        "message": "hello: v4 serves",
    }


def test_rollback_goes_to_the_version_that_is_named(node: Background, henslowe: Henslowe) -> None:
    assert henslowe("rollback", "hello", "--to", "2", "--json").json["version"] == 2


def test_a_command_that_does_not_fit_fails_with_cause_and_fix(node: Background, henslowe: Henslowe) -> None:
    henslowe("promote", "hello")
    run = henslowe("promote", "hello")
    assert run.exit_code == 1
    assert run.err.splitlines() == ["error: cannot promote hello: no canary", "fix:   henslowe status"]
    error = json.loads(henslowe("promote", "hello", "--json").err)["error"]
    assert (error["code"], error["details"]) == ("conflict", {"state": "active"})


def test_a_command_on_no_service_exits_with_2(node: Background, henslowe: Henslowe) -> None:
    assert henslowe("hold", "no/../body").exit_code == 2


def test_build_says_which_version_it_makes(node: Background, henslowe: Henslowe) -> None:
    run = henslowe("build", "hello")
    assert run.exit_code == 0
    assert "building hello@6" in run.out
    assert henslowe("build", "hello", "--json").json == {"service": "hello", "version": 6}


def test_a_build_that_is_waited_for_exits_with_4_when_a_stage_fails(node: Background, henslowe: Henslowe) -> None:
    run = henslowe("build", "hello", "--wait")
    assert run.exit_code == 4
    assert "test: failed in 0.5 s" in run.out
    assert run.err.splitlines() == [
        "error: cannot build hello@6: assert 1 == 2",
        "fix:   henslowe logs hello --version 6 --stage test",
    ]


def test_a_build_that_is_waited_for_exits_with_0_when_it_succeeds(node: Background, henslowe: Henslowe) -> None:
    node.node.build_ends = "SUCCESS"
    run = henslowe("build", "hello", "--wait")
    assert run.exit_code == 0
    assert "test: success in 0.5 s" in run.out
    assert "hello@6 is built" in run.out
    assert henslowe("build", "hello", "--wait", "--json").json == {"service": "hello", "version": 6}


def test_a_build_that_a_newer_change_replaced_exits_with_1(node: Background, henslowe: Henslowe) -> None:
    node.node.build_ends = "SUPERSEDED"
    run = henslowe("build", "hello", "--wait")
    assert run.exit_code == 1
    assert "a newer change took its place" in run.err


def test_stop_asks_the_node_to_stop(node: Background, henslowe: Henslowe) -> None:
    run = henslowe("stop")
    assert run.exit_code == 0
    assert node.node.stopped.is_set()
    assert henslowe("stop", "--json").json == {"stopping": True, "stopped": False}, "it runs in this very process"


# -- steps and freezes ----------------


@pytest.mark.parametrize(
    ("given", "action"),
    [
        (("promote", "hello"), "promote"),
        (("promote", "hello", "--full"), "promote-full"),
        (("promote", "hello", "--step"), "approve"),
        (("abort", "hello"), "abort"),
        (("retry", "hello"), "retry"),
        (("undo", "hello"), "rollback"),
    ],
)
def test_a_rollout_is_led_on_or_ended(
    node: Background, henslowe: Henslowe, given: tuple[str, ...], action: str
) -> None:
    assert henslowe(*given, "--epoch", "7", "--json").json["action"] == action
    assert node.node.asked[0][1] == action
    assert node.node.asked[0][5] == 7


def test_promoting_one_step_and_all_of_them_at_once_is_a_misuse(node: Background, henslowe: Henslowe) -> None:
    run = henslowe("promote", "hello", "--full", "--step")
    assert (run.exit_code, node.node.asked) == (2, [])


@pytest.mark.parametrize(("command", "to"), [("undo", "1.0.2"), ("undo", "v1.0.2"), ("retry", "2"), ("rollback", "v2")])
def test_a_version_is_named_by_its_number_or_its_semver(
    node: Background, henslowe: Henslowe, command: str, to: str
) -> None:
    assert henslowe(command, "hello", "--to", to).exit_code == 0
    assert node.node.asked[0][4] == 2


def test_a_version_that_there_is_none_of_is_not_gone_back_to(node: Background, henslowe: Henslowe) -> None:
    run = henslowe("undo", "hello", "--to", "9.9.9")
    assert run.err.splitlines()[0] == "error: cannot find version 9.9.9 of hello"
    assert node.node.asked == []


def test_a_freeze_is_overridden_with_a_reason(node: Background, henslowe: Henslowe) -> None:
    assert henslowe("promote", "hello", "--override-freeze", "mends the outage").exit_code == 0
    assert node.node.asked[1] == (None, "mends the outage")


def test_hooks_are_skipped_with_a_reason_and_not_without_one(node: Background, henslowe: Henslowe) -> None:
    run = henslowe("promote", "hello", "--skip-hooks")
    assert (run.exit_code, node.node.asked) == (2, [])
    assert "expected --reason WHY with --skip-hooks" in run.err
    assert henslowe("promote", "hello", "--skip-hooks", "--reason", "the hook hangs").exit_code == 0
    assert node.node.asked[1] == ("skip_hooks", "the hook hangs")


def test_one_service_or_all_of_them_are_frozen_until_a_time(node: Background, henslowe: Henslowe) -> None:
    assert henslowe("freeze", "hello", "--until", "2036-01-01 00:00", "--why", "audit").exit_code == 0
    until_s = dt.datetime(2036, 1, 1).astimezone().timestamp()
    assert node.node.asked == [("hello", "freeze", node.node.asked[0][2], "audit", None, None), (until_s, "")]
    node.node.asked.clear()
    assert "all services: freeze" in henslowe("freeze", "--all", "--why", "audit").out
    assert henslowe("unfreeze", "--all").exit_code == 0
    assert node.node.asked[0] == ("line", "freeze", node.node.asked[0][2], "audit", None)
    assert node.node.asked[1][1] == "unfreeze"


@pytest.mark.parametrize("given", [("freeze",), ("freeze", "hello", "--all"), ("freeze", "--all", "--until", "soon")])
def test_a_freeze_of_nothing_or_until_never_is_a_misuse(
    node: Background, henslowe: Henslowe, given: tuple[str, ...]
) -> None:
    run = henslowe(*given)
    assert (run.exit_code, node.node.asked) == (2, [])
    assert "expected" in run.err


def test_the_line_is_stopped_and_started_with_one_command_each(node: Background, henslowe: Henslowe) -> None:
    assert henslowe("stop-the-line", "--why", "outage").out.splitlines()[-1] == "next: henslowe start-the-line"
    assert henslowe("start-the-line", "--json").json["changed"] is True
    assert [asked[:2] for asked in node.node.asked] == [("line", "stop"), ("line", "start")]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2h", "2026-11-20 14:00"),
        ("+90m", "2026-11-20 13:30"),
        ("1d", "2026-11-21 12:00"),
        ("18:00", "2026-11-20 18:00"),
        ("08:00", "2026-11-21 08:00"),
        ("mon 08:00", "2026-11-23 08:00"),
        ("fri 08:00", "2026-11-27 08:00"),
        ("2026-12-24", "2026-12-24 00:00"),
    ],
)
def test_a_time_to_come_is_said_as_people_say_it(text: str, expected: str) -> None:
    now = dt.datetime(2026, 11, 20, 12, 0).astimezone()
    assert dt.datetime.fromtimestamp(until_s(text, now)).strftime("%Y-%m-%d %H:%M") == expected  # noqa: DTZ006
