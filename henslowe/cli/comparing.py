"""How replays, A/B tests and mirrors look on a terminal: pure functions from replies to lines."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from henslowe.cli.console import clean
from henslowe.words import counted

if TYPE_CHECKING:
    from henslowe.transport.admin.models.figures import ArmReply, ComparisonReply, ReplayReply


def replay_lines(replay: ReplayReply) -> Iterator[str]:
    """A replay, whole: its sentence, where answers differ, and examples."""
    yield clean(replay.words)
    for place in replay.report.get("paths", ()):
        yield f"  {place['calls']:>4} x  {clean(str(place['tool']))}: {clean(str(place['path']))}"
    for example in replay.report.get("examples", ()):
        where = f"{clean(str(example['tool']))}: {clean(str(example['path']))}"
        answers = f"v{replay.against} {clean(str(example['old']))!r}, now {clean(str(example['new']))!r}"
        yield f"  e.g.    {where}  {answers}  (henslowe captures show {example['capture']})"


def comparison_lines(comparison: ComparisonReply) -> Iterator[str]:
    """Both arms, one above the other."""
    yield f"  compared   {clean(comparison.words)}"
    for arm in comparison.arms:
        yield f"  {arm.arm:<9}  {_arm(arm)}"


def _arm(arm: ArmReply) -> str:
    latency = "" if arm.p50_ms is None else f", p50 {arm.p50_ms:.0f} ms"
    latency += "" if arm.p95_ms is None else f", p95 {arm.p95_ms:.0f} ms"
    chosen = f" ({arm.chosen} by choice)" if arm.chosen else ""
    return f"v{arm.version}  {counted(arm.calls, 'call')}{chosen}, {arm.failed} failed, {arm.slow} slow{latency}"
