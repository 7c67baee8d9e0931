"""What was replayed, mirrored and compared, in words and figures: pure functions from rows and snapshots."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

from henslowe.actors.ids import VersionKey
from henslowe.actors.traffic import ServiceTraffic
from henslowe.actors.versions import ServiceRow, VersionRow
from henslowe.config.exposure import AbTest, Mirror
from henslowe.transport.admin.models.figures import ArmReply, ComparisonReply, ReplayReply

REPLAYING = "replaying captured calls"


def replay_reply(version: VersionRow | None) -> ReplayReply | None:
    """What the replay of captured calls showed of a version; None where nothing was replayed."""
    if version is None or version.rehearsal is None:
        return None
    found = version.rehearsal
    return ReplayReply(
        version=version.number,
        against=found.against,
        found=found.found or "running",
        words=found.why or f"captured calls are being replayed beside v{found.against}",
        report=found.report,
    )


def newest_replay(row: ServiceRow, versions: Mapping[int, VersionRow]) -> ReplayReply | None:
    """That of the version on its way, else of the active one while it is on probation."""
    on_probation = row.active if row.probation_until_s else 0
    return next(
        (
            reply
            for number in (row.staged, row.canary, on_probation)
            if (reply := replay_reply(versions.get(number))) is not None
        ),
        None,
    )


def staged_detail(version: VersionRow | None) -> str:
    """What a staged version is at."""
    replaying = version is not None and version.rehearsal is not None and not version.rehearsal.found
    return REPLAYING if replaying else "starting"


def comparison_reply(row: ServiceRow, traffic: ServiceTraffic | None) -> ComparisonReply | None:
    """Both arms side by side, where a service compares them by `[ab]` or `[mirror]`; None without a canary."""
    ab, mirror = row.exposure.ab, row.exposure.mirror
    if not row.canary or (ab is None and mirror is None):
        return None
    trial = traffic.trial if traffic is not None and traffic.trial is not None else None
    numbers = trial.numbers if trial is not None and trial.new.number == row.canary else {}
    return ComparisonReply(
        words="; ".join(part for part in (_ab_words(ab), _mirror_words(mirror)) if part),
        arms=(
            _arm("candidate", row.key_of(row.canary), traffic, numbers),
            _arm("stable", row.key_of(row.active), traffic, numbers),
        ),
        mirror=numbers.get("mirror"),
    )


def _arm(
    arm: Literal["candidate", "stable"], key: VersionKey, traffic: ServiceTraffic | None, numbers: Mapping[str, object]
) -> ArmReply:
    seen = traffic.versions.get(key) if traffic is not None else None
    prefix = "" if arm == "candidate" else "control_"
    return ArmReply(
        arm=arm,
        version=key.number,
        calls=_count(numbers, f"{prefix}calls"),
        failed=_count(numbers, f"{prefix}failures"),
        slow=_count(numbers, f"{prefix}slow"),
        chosen=_count(numbers, f"{prefix}chosen"),
        p50_ms=seen.p50_ms if seen is not None and seen.calls else None,
        p95_ms=seen.p95_ms if seen is not None and seen.calls else None,
    )


def _count(numbers: Mapping[str, object], key: str) -> int:
    value = numbers.get(key, 0)
    return value if isinstance(value, int) else 0


def _ab_words(ab: AbTest | None) -> str:
    if ab is None:
        return ""
    parts = [f"{ab.header}: {value} is served by the {arm}" for value, arm in sorted(ab.values.items())]
    others = f"{ab.percent:g} % of {'the others' if parts else 'the clients'} by the candidate"
    return "A/B test: " + ", ".join([*parts, others] if ab.percent else parts)


def _mirror_words(mirror: Mirror | None) -> str:
    if mirror is None:
        return ""
    return f"{mirror.percent:g} % of the read-only calls are copied" + (", nothing else" if mirror.only else "")
