"""What people see of replays, A/B tests and mirrors: from rows and snapshots to replies, and from those to lines."""

from __future__ import annotations

from typing import Any

from henslowe.actors.ids import ServiceName, VersionKey
from henslowe.actors.traffic import ServiceTraffic, TrialStatus, VersionTraffic
from henslowe.actors.versions import ServiceRow, VersionRow
from henslowe.actors.versions.rows import Rehearsal
from henslowe.cli.comparing import comparison_lines, replay_lines
from henslowe.config.exposure import AbTest, Exposure, Mirror
from henslowe.node_exposures import comparison_reply, newest_replay, replay_reply, staged_detail

HELLO = ServiceName("hello")
OLD, NEW = VersionKey(HELLO, 2), VersionKey(HELLO, 3)
AB = AbTest(header="x-variant", values={"b": "candidate", "a": "stable"}, percent=20)
REPORT: dict[str, Any] = {
    "paths": [{"tool": "look", "path": "items[].price", "calls": 7}],
    "examples": [{"tool": "look", "path": "items[].price", "old": "1", "new": "\x1b[31m2", "capture": 9}],
}


def version(number: int, **rehearsal: Any) -> VersionRow:
    found = Rehearsal(against=2, **rehearsal) if rehearsal else None
    return VersionRow(service=HELLO, number=number, rehearsal=found)


def row(**fields: Any) -> ServiceRow:
    return ServiceRow(service=HELLO, **{"active": 2, "canary": 3, **fields})


def test_a_version_that_is_being_rehearsed_says_so() -> None:
    replaying = version(3, short=True)
    assert staged_detail(replaying) == "replaying captured calls"
    assert staged_detail(version(3)) == "starting"
    reply = replay_reply(replaying)
    assert reply is not None
    assert (reply.found, reply.words) == ("running", "captured calls are being replayed beside v2")


def test_the_replay_shown_is_that_of_the_version_on_its_way() -> None:
    versions = {2: version(2, found="differs", why="two"), 3: version(3, found="alike", why="three"), 4: version(4)}
    shown = [
        newest_replay(each, versions)
        for each in (row(), row(canary=0), row(canary=0, probation_until_s=9.0), row(canary=0, staged=4))
    ]
    assert [reply.words if reply else None for reply in shown] == ["three", None, "two", None]


def test_a_replay_is_told_with_places_and_examples_without_tricks_of_the_terminal() -> None:
    reply = replay_reply(version(3, found="differs", why="7 differ", report=REPORT))
    assert reply is not None
    first, place, example = replay_lines(reply)
    assert (first, place) == ("7 differ", "     7 x  look: items[].price")
    assert example.startswith("  e.g.    look: items[].price  v2 '1', now ")
    assert "\x1b" not in example


def test_both_arms_of_an_ab_test_are_side_by_side() -> None:
    numbers = {"calls": 120, "failures": 3, "chosen": 40, "slow": 5, "control_calls": 480, "control_failures": 2}
    traffic = ServiceTraffic(
        HELLO,
        versions={OLD: VersionTraffic(OLD, 900, p50_ms=10.0, p95_ms=28.0), NEW: VersionTraffic(NEW)},
        trial=TrialStatus(NEW, OLD, False, "hold", "", True, numbers),
    )
    reply = comparison_reply(row(exposure=Exposure(ab=AB)), traffic)
    assert reply is not None
    assert list(comparison_lines(reply)) == [
        "  compared   A/B test: x-variant: a is served by the stable, x-variant: b is served by the candidate, "
        "20 % of the others by the candidate",
        "  candidate  v3  120 calls (40 by choice), 3 failed, 5 slow",
        "  stable     v2  480 calls, 2 failed, 0 slow, p50 10 ms, p95 28 ms",
    ]


def test_a_mirror_says_what_is_copied() -> None:
    reply = comparison_reply(row(exposure=Exposure(mirror=Mirror(percent=5, only=True))), None)
    assert reply is not None
    assert reply.words == "5 % of the read-only calls are copied, nothing else"
    assert [arm.calls for arm in reply.arms] == [0, 0]


def test_there_is_nothing_to_compare_without_a_canary_or_a_wish() -> None:
    assert comparison_reply(row(), None) is None
    assert comparison_reply(row(canary=0, exposure=Exposure(ab=AB)), None) is None
