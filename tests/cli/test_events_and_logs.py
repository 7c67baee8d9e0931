from __future__ import annotations

import asyncio
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import pytest

from henslowe.cli.traffic import _tools
from tests.cli.conftest import Henslowe
from tests.transport.admin.background import Background, background


@contextmanager
def following(*args: str, cwd: Path) -> Iterator[subprocess.Popen[str]]:
    """A command in a process of its own; its lines are read as they come."""
    process = subprocess.Popen(
        [sys.executable, "-u", "-m", "henslowe", *args],
        cwd=cwd,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=5)


def say_lines(node: Background, *lines: str, version: int = 5, source: str = "test") -> None:
    for line in lines:
        node.say("output", "STAGE_OUTPUT", "INFO", "hello", version, source=source, channel="stderr", line=line)


def test_events_are_one_line_each_and_end_with_what_to_do_next(node: Background, henslowe: Henslowe) -> None:
    node.say("lifecycle", "LINT_COMPLETE", "SUCCESS", "hello", 3, took_s=0.5)
    node.say("lifecycle", "NODE_START", "SUCCESS")
    run = henslowe("events")
    assert run.exit_code == 0
    lines = run.out.splitlines()
    assert "hello@3" in lines[0]
    assert "LINT_COMPLETE        SUCCESS   took_s=0.5" in lines[0]
    assert "node  " in lines[1]
    assert lines[-1] == "next: henslowe events --follow"


def test_a_cut_page_says_where_to_go_on(node: Background, henslowe: Henslowe) -> None:
    for version in range(4):
        node.say("lifecycle", "PROMOTE", "SUCCESS", "hello", version)
    first = henslowe("events", "--since", "0", "--limit", "2", "--json").json
    assert len(first["events"]) == 2
    assert first["more"] is True
    run = henslowe("events", "--since", "0", "--limit", "2")
    assert run.out.rstrip().endswith(f"henslowe events --since {first['next_since']}")


@pytest.mark.parametrize(
    ("args", "expected"),
    [
        (["--type", "CANARY_*"], [1]),
        (["--type", "CANARY_*", "--type", "PROMOTE"], [1, 2]),
        (["--service", "other"], [3]),
        (["--stream", "output"], [4]),
        (["-n", "1"], [3]),
    ],
)
def test_events_are_filtered(node: Background, henslowe: Henslowe, args: list[str], expected: list[int]) -> None:
    node.say("lifecycle", "CANARY_DEPLOY", "SUCCESS", "hello", 1)
    node.say("lifecycle", "PROMOTE", "SUCCESS", "hello", 2)
    node.say("activity", "CALL_FAILED", "FAILED", "other", 3)
    node.say("output", "STAGE_OUTPUT", "INFO", "hello", 4, source="x", channel="stdout", line="y")
    assert [event["version"] for event in henslowe("events", *args, "--json").json["events"]] == expected


def test_following_starts_with_the_past_and_goes_on_across_a_restart_of_the_listener(
    node: Background, workspace: Path
) -> None:
    node.say("lifecycle", "PROMOTE", "SUCCESS", "hello", 1)
    with following("events", "--follow", "--json", cwd=workspace) as process:
        assert process.stdout is not None
        assert json.loads(process.stdout.readline())["version"] == 1
        node.say("lifecycle", "PROMOTE", "SUCCESS", "hello", 2)
        assert json.loads(process.stdout.readline())["version"] == 2
        node.run(node.served.close_listener())
        node.say("lifecycle", "PROMOTE", "SUCCESS", "hello", 3)
        node.run(node.served.open_listener())
        node.say("lifecycle", "PROMOTE", "SUCCESS", "hello", 4)
        assert [json.loads(process.stdout.readline())["version"] for _ in range(2)] == [3, 4]
        process.send_signal(signal.SIGINT)
        assert process.wait(5) == 0


def test_following_a_node_that_does_not_come_back_ends_with_3(
    workspace: Path, henslowe: Henslowe, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("henslowe.cli.client.STREAM_SILENCE_S", 0.3)
    monkeypatch.setattr("henslowe.cli.events.RECONNECT_S", 0.1)
    monkeypatch.setattr("henslowe.cli.events.RECONNECT_PAUSE_S", 0.01)
    with background(workspace) as node:
        node.say("lifecycle", "PROMOTE", "SUCCESS", "hello", 1)
        gone = threading.Thread(target=lambda: (streaming(node), node.run(node.served.close_listener())))
        gone.start()
        run = henslowe("events", "--follow", "--json")
        gone.join(5)
    assert run.exit_code == 3
    assert [event["version"] for event in run.json_lines] == [1]
    assert "cannot reach the node" in run.err


def streaming(node: Background) -> None:
    """Return when somebody follows the events, at most 5 s later."""

    async def followed() -> None:
        async with asyncio.timeout(5):
            while not node.served.admin.streams:
                await asyncio.sleep(0.005)

    node.run(followed())


@pytest.mark.parametrize("given", ["canary_*", "Canary_Deploy"])
def test_a_type_may_be_given_in_small_letters(node: Background, henslowe: Henslowe, given: str) -> None:
    node.say("lifecycle", "CANARY_DEPLOY", "SUCCESS", "hello", 1)
    assert len(henslowe("events", "--type", given, "--json").json["events"]) == 1


def test_logs_are_the_lines_with_who_printed_them(node: Background, henslowe: Henslowe) -> None:
    say_lines(node, "first", "\x1b[2Jsecond")
    say_lines(node, "lint says", source="lint")
    say_lines(node, "old", version=4)
    run = henslowe("logs", "hello", "--version", "5", "--stage", "test")
    assert run.exit_code == 0
    assert [line.partition("v5 ")[2] for line in run.out.splitlines()[:2]] == ["test ! first", "test ! �[2Jsecond"]
    assert run.out.rstrip().endswith("next: henslowe logs hello --follow")
    lines = henslowe("logs", "hello", "--json").json["lines"]
    assert [line["line"] for line in lines] == ["first", "\x1b[2Jsecond", "lint says", "old"]


def test_followed_logs_have_the_same_shape_before_and_after_now(node: Background, workspace: Path) -> None:
    say_lines(node, "before")
    with following("logs", "hello", "-f", "--json", "--version", "5", "--stage", "test", cwd=workspace) as process:
        assert process.stdout is not None
        before = json.loads(process.stdout.readline())
        say_lines(node, "of another version", version=4)
        say_lines(node, "of another stage", source="lint")
        say_lines(node, "after")
        after = json.loads(process.stdout.readline())
    assert (before["line"], after["line"]) == ("before", "after")
    assert set(before) == set(after)


def line_of(data: dict[str, object]) -> str:
    from henslowe.cli.render import event_line
    from henslowe.transport.admin.models.events import EventReply

    event = EventReply(
        seq=1, time_s=1.0, stream="lifecycle", type="X", status="INFO", service="hello", version=1, node="n", data=data
    )
    return click.unstyle(event_line(event))


def test_an_events_line_leaves_out_what_says_nothing_and_shortens_digests() -> None:
    line = line_of({"semver": "", "changed": [], "stages": ["lint", "test"], "build": "ab" * 32, "duration_ms": 0})
    assert line.endswith("stages=lint,test build=abababababab duration_ms=0")


def test_an_event_of_many_numbers_is_cut_and_says_so() -> None:
    numbers: dict[str, object] = {f"n{number}": number for number in range(11)}
    assert line_of(numbers).endswith(" n9=9 ...")
    del numbers["n10"]
    assert line_of(numbers).endswith(" n9=9")


def test_nothing_to_show_is_said(node: Background, henslowe: Henslowe) -> None:
    assert henslowe("events", "--type", "NO_SUCH").out.startswith("no event is of this kind\n")
    run = henslowe("logs", "hello", "--version", "4")
    assert run.out == "nothing printed yet\n\nnext: henslowe events --service hello\n"


def test_logs_of_a_version_that_there_is_not_exit_with_2(node: Background, henslowe: Henslowe) -> None:
    run = henslowe("logs", "hello", "--version", "99")
    assert run.exit_code == 2
    assert run.err == "error: cannot find version 99 of 'hello'\nfix:   henslowe versions hello\n"


def test_a_version_that_is_gone_has_what_it_printed(node: Background, henslowe: Henslowe) -> None:
    node.say("output", "STAGE_OUTPUT", "INFO", "hello", 99, source="test", channel="stdout", line="long ago")
    assert "long ago" in henslowe("logs", "hello", "--version", "99").out


def test_tools_are_a_table_of_short_lines() -> None:
    greet = {
        "service": "hello",
        "name": "greet",
        "read_only": True,
        "idempotent": True,
        "description": "Greet.\nBy name.",
    }
    put = {"service": "files", "name": "put", "read_only": False, "idempotent": True, "description": "x" * 200}
    move = put | {"name": "move", "idempotent": False, "description": ""}
    assert [click.unstyle(line) for line in _tools({"tools": [greet, put, move]})] == [
        "service  tool   marks       what it does",
        "hello    greet  read-only   Greet.",
        "files    put    idempotent  " + "x" * 80,
        "files    move",
    ]
    assert list(_tools({"tools": []})) == []


def test_tools_of_no_service_exit_with_2(node: Background, henslowe: Henslowe) -> None:
    run = henslowe("tools", "nobody")
    assert run.exit_code == 2
    assert run.err.startswith("error: cannot find service 'nobody'")


def test_logs_of_no_service_exit_with_2(node: Background, henslowe: Henslowe) -> None:
    run = henslowe("logs", "nobody")
    assert run.exit_code == 2
    assert "nobody" in run.err
