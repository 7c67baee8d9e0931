"""What people see of instances, sleep and windows: pure, over crews and published traffic."""

from __future__ import annotations

import time
from types import MappingProxyType
from typing import Any

import pytest

from henslowe.actors.health import Breach, HealthBoard, WindowFigures
from henslowe.actors.ids import InstanceId
from henslowe.actors.instances import Crew, InstanceBoard
from henslowe.actors.tasks import TaskRow
from henslowe.actors.traffic import ServiceTraffic, TrafficStats, VersionTraffic
from henslowe.actors.versions import ServiceRow
from henslowe.config.upkeep import ScaleSettings
from henslowe.node_health import (
    asleep,
    health_replies,
    instance_replies,
    keeps_awake,
    scale_reply,
    window_reply,
)
from henslowe.node_health_metrics import HealthCollector
from tests.actors.instances.test_crew_and_scaling import ONE, Handle, crew_of, join

ROW = ServiceRow(service=ONE.service, active=1, previous=2)
WINDOW = WindowFigures(300.0, 40, 10, 5.0, 9.0, 12.0)
TRAFFIC = ServiceTraffic(
    ONE.service,
    versions=MappingProxyType({ONE: VersionTraffic(ONE, window=WINDOW)}),
    instances=MappingProxyType({InstanceId("hello@1#2"): WINDOW}),
    passed=MappingProxyType({ONE: Breach("max_error_rate", 0.1, 0.25, "10 of 40 calls failed")}),
)


class Facts:
    class era:
        value = "modern"


def running(serving: int, standby: int = 0) -> tuple[InstanceBoard, Crew]:
    crew = crew_of(serving, standby)
    crew.scale = ScaleSettings(min=0, max=4)
    for _ in range(serving + standby):
        member = join(crew)
        member.endpoint.facts = Facts  # type: ignore[union-attr, misc, assignment]
    board = InstanceBoard()
    board.crews[ONE] = crew
    return board, crew


def test_each_instance_has_its_duty_its_memory_and_its_window() -> None:
    board, crew = running(1, standby=1)
    crew.members[2].rss_bytes, crew.members[2].starts = 7, 3
    one, two, down = instance_replies(ROW, board, HealthBoard(crew.directory), TRAFFIC)
    assert (one.id, one.state, one.window, one.rss_bytes, one.restarts) == ("hello@1#1", "ready", None, None, 0)
    assert (two.id, two.state, two.rss_bytes, two.restarts) == ("hello@1#2", "standby", 7, 2)
    assert two.window is not None
    assert (two.window.error_rate, two.window.success_rate, two.window.p99_ms) == (0.25, 0.75, 12.0)
    assert (down.id, down.state) == ("hello@2", "down")


def test_a_version_that_sleeps_has_no_instance_and_says_since_when() -> None:
    board, crew = running(1)
    crew.sleep(Handle("asleep"))  # type: ignore[arg-type]
    crew.members.clear()
    crew.asleep_since_s = time.time() - 600
    assert [each.version for each in instance_replies(ROW, board, HealthBoard(crew.directory), None)] == [2]
    scale = scale_reply(crew)
    assert scale is not None
    assert (scale.serving, scale.wanted, scale.min, scale.max, scale.asleep_since_s) == (
        0,
        0,
        0,
        4,
        crew.asleep_since_s,
    )
    assert asleep(crew) == "asleep for 10 min, woken by a call"
    crew.asleep_since_s = time.time() + 9  # a clock that was set back
    assert asleep(crew) == "asleep for 0 s, woken by a call"
    crew.asleep_since_s = time.time() - 7_800
    assert asleep(crew) == "asleep for 2 h, woken by a call"
    assert (scale_reply(None), asleep(None)) == (None, "")


def test_a_version_without_calls_has_no_figures() -> None:
    (one,) = health_replies(ROW, TRAFFIC)
    assert (one.version, one.passed, one.window.calls) == (1, "10 of 40 calls failed", 40)
    assert list(health_replies(ROW, None)) == []
    assert window_reply(WindowFigures()) is None


@pytest.mark.parametrize("field", ["staged", "canary", "rollback_to"])
def test_a_rollout_under_way_keeps_a_service_awake(field: str) -> None:
    assert keeps_awake(ROW.model_copy(update={field: 3}), ())
    assert not keeps_awake(ROW, ())
    assert not keeps_awake(None, ())


def test_a_task_under_way_keeps_a_service_awake() -> None:
    fields = {"service": ONE.service, "version": 1, "instance": InstanceId("hello@1#1"), "own": "t", "era": "legacy"}
    task = TaskRow(id="t", owner="", unit="s:x", created_s=0.0, expires_s=1.0, **fields)
    assert keeps_awake(ROW, (task,))
    assert not keeps_awake(ROW, (task.model_copy(update={"status": "completed"}),))


def test_the_metrics_have_the_same_figures() -> None:
    board, crew = running(2)
    crew.members[1].rss_bytes = 4096
    traffic = TrafficStats()
    traffic.publish({ONE.service: TRAFFIC})
    found: dict[str, dict[tuple[Any, ...], float]] = {}
    for metric in HealthCollector(board, traffic).collect():
        for sample in metric.samples:
            found.setdefault(sample.name, {})[tuple(sample.labels.values())] = sample.value
    assert found["henslowe_version_instances"]["hello", "1", "ready"] == 2
    assert found["henslowe_version_asleep"] == {("hello", "1"): 0.0}
    assert found["henslowe_instance_resident_bytes"] == {("hello", "hello@1#1"): 4096}
    assert found["henslowe_version_error_rate"] == {("hello", "1"): 0.25}
    assert found["henslowe_instance_response_seconds"]["hello", "hello@1#2", "0.99"] == 0.012
