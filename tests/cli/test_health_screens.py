"""`henslowe health` and `why`, and what `status` says of instances, sleep and limits."""

from __future__ import annotations

from typing import Any

from henslowe.cli.render import health_lines, service_lines
from henslowe.transport.admin.models.figures import InstanceReply, ScaleReply, VersionHealthReply, WindowReply
from henslowe.transport.admin.models.services import ServiceReply
from tests.cli.conftest import Henslowe
from tests.cli.test_looking import next_step
from tests.transport.admin.background import Background

WINDOW = WindowReply(
    window_s=300.0, calls=812, failures=4, success_rate=0.995, error_rate=0.005, p50_ms=12.06, p95_ms=31.0, p99_ms=88.2
)


def service(**fields: Any) -> ServiceReply:
    return ServiceReply(name="hello", state="active", healthy=True, path="/mcp/hello", **fields)


def test_health_lists_versions_with_their_instances() -> None:
    one = InstanceReply(id="hello@3#1", version=3, state="ready", window=WINDOW, rss_bytes=68 * 2**20)
    two = InstanceReply(id="hello@3#2", version=3, state="standby")
    lines = list(health_lines([service(health=(VersionHealthReply(version=3, window=WINDOW),), instances=(one, two))]))
    text = "\n".join(lines)
    assert "812 in 5 min" in text
    assert "99.5%" in text
    assert "12.1 ms" in text
    assert "68 MiB" in text
    assert lines[-1].split()[:3] == ["hello@3#2", "standby", "-"]
    assert list(health_lines([service()])) == ["no calls in the last minutes"]


def test_status_says_what_passed_a_limit_and_what_could_not_be_woken() -> None:
    passed = VersionHealthReply(version=3, window=WINDOW, passed="4 of 812 calls failed")
    scale = ScaleReply(version=3, serving=0, wanted=0, asleep_since_s=1.0, wake_failure="it exited\nwith a trace")
    text = "\n".join(service_lines(service(health=(passed,), scale=scale)))
    assert "v3: 4 of 812 calls failed" in text
    assert "it exited" in text
    assert "with a trace" not in text


def test_health_as_json_has_the_same_fields_for_each_service(node: Background, henslowe: Henslowe) -> None:
    (hello,) = henslowe("health", "--json").json["services"]
    assert hello.keys() == {"name", "healthy", "health", "scale", "instances"}
    assert henslowe("health").out.startswith("no calls in the last minutes")


def test_why_shows_the_numbers_the_calls_and_the_last_words_of_what_was_taken_back(
    node: Background, henslowe: Henslowe
) -> None:
    assert "no version of hello was taken back" in henslowe("why", "hello").out
    failing = {
        "time_s": 1_700_000_000.0, "tool": "greet", "outcome": "tool_error", "latency_ms": 3.5,
        "error": "unlucky", "instance": "hello@4#1", "by": "",
    }  # fmt: skip
    node.say(
        "activity",
        "CANARY_VERDICT",
        "FAILED",
        "hello",
        4,
        decision="rollback",
        why="12 of 40 calls failed",
        limit="max_error_rate",
        calls=40,
        failures=12,
        failing_calls=[failing],
        log_tail=["greeting somebody", "KeyError: 'x'"],
    )
    run = henslowe("why", "hello")
    assert "hello v4 was taken back" in run.out
    assert "12 of 40 calls failed" in run.out
    assert "health.max_error_rate, a limit of its own" in run.out
    assert "greet" in run.out
    assert "| KeyError: 'x'" in run.out
    assert next_step(run.out) == "henslowe logs hello --version 4"
    assert henslowe("why", "hello", "--json").json["decision"]["data"]["failing_calls"] == [failing]
    assert "v3 of hello was not taken back" in henslowe("why", "hello", "--version", "3").out
