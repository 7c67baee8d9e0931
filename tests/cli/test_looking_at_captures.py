from __future__ import annotations

from tests.cli.conftest import Henslowe
from tests.transport.admin.background import Background
from tests.transport.admin.small_node import record
from tests.transport.admin.test_admin_captures import exchange


def test_captures_are_listed_with_what_became_of_them(node: Background, henslowe: Henslowe) -> None:
    empty = henslowe("captures")
    assert "nothing is recorded" in empty.out
    record(node.served, *(exchange(number) for number in range(1, 8)))
    run = henslowe("captures", "--limit", "3")
    lines = run.out.splitlines()
    assert [line.split()[0] for line in lines[:3]] == ["7", "6", "5"]
    assert "hello@2" in lines[0]
    assert "internal_error" in lines[0]
    assert "1 redacted, reads only" in lines[0]
    assert "7 stored" in run.out
    assert lines[-1] == "next: henslowe captures show 7"
    assert [each["seq"] for each in henslowe("captures", "--errors", "--json").json["captures"]] == [7]
    assert [each["seq"] for each in henslowe("captures", "-s", "world", "--json").json["captures"]] == [6, 4, 2]


def test_one_capture_is_shown_without_its_secrets(node: Background, henslowe: Henslowe) -> None:
    record(node.served, exchange(7))
    run = henslowe("captures", "show", "1")
    assert run.exit_code == 0
    assert "hello@2  tools/call greet  internal_error" in run.out
    assert '"password": "[redacted:password:len=7]"' in run.out
    assert "hunter2" not in run.out
    missing = henslowe("captures", "show", "99")
    assert missing.exit_code == 2
    assert "there is no capture 99" in missing.err
