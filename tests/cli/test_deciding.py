from __future__ import annotations

import json

import pytest

from tests.cli.conftest import Henslowe
from tests.transport.admin.small_node import Background


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
