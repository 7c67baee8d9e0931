"""Transitions that bring versions into being: a build that succeeded or failed, a declaration, a retirement. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic_core import to_jsonable_python

from henslowe.actors.endpoints import Contract
from henslowe.actors.messages import (
    Created,
    CreateVersion,
    DeclareService,
    RetireService,
    VersionBroken,
    VersionBuilt,
)
from henslowe.actors.versions import adoption, contracts
from henslowe.actors.versions.change import Change
from henslowe.actors.versions.rows import (
    NO_STEP,
    NOTHING_COLD,
    EffectKind,
    Kind,
    ServiceRow,
    VersionRow,
    VersionState,
)
from henslowe.actors.vocabulary import EventType, Status
from henslowe.errors import Conflict, NotFound

REASON_MAX: Final = 4_096
MANIFEST: Final = "manifest"
"""As the stage of a version whose manifest could not be used."""
ABORTED: Final = "abort"
"""As the stage of a version that a person gave up before it met any traffic."""
SEMVERS_MAX: Final = 1_000
"""Names remembered per service."""


def create(change: Change, message: CreateVersion) -> Created:
    """A new version in DEVELOPMENT, unless the newest one is made of the same source."""
    if not change.exists:
        change.create_service(ServiceRow(service=message.service))
    elif change.service.kind is Kind.DECLARED and change.service.wanted:
        raise Conflict(
            f"cannot develop {message.service}: a service of this name is declared",
            hint=f"rename the folder dev/{message.service}, or remove [services.{message.service}]",
        )
    unchanged = None if message.force or change.service.retired else _same_source(change, message.source_digest)
    if unchanged:
        _mended(change)
        adoption.adopt(change, unchanged, message)
        return Created(change.key(unchanged), unchanged=True)
    number = change.service.last_number + 1
    change.set_service(
        kind=Kind.DEVELOPED,
        retired=False,
        last_number=number,
        **({} if message.refused else {"strategy": message.strategy, "windows": message.plan.windows}),
    )
    for row in list(change.versions.values()):
        if row.state is VersionState.DEVELOPMENT:
            supersede(change, row.number, f"{change.key(number)} came before it was built")
    change.add_version(
        VersionRow(
            service=message.service,
            number=number,
            source_digest=message.source_digest,
            strategy=message.strategy,
            canary_weight=message.canary_weight,
            plan=message.plan,
            hooks=message.hooks,
            exposure=message.exposure,
            health=message.health,
            scale=message.scale,
        )
    )
    change.say(EventType.VERSION_CREATED, Status.PENDING, number, source_digest=message.source_digest)
    collect(change)
    return Created(change.key(number))


def _same_source(change: Change, source_digest: str) -> int:
    """The newest version, if it is made of this source and nothing would come of building it again; else 0.

    A version that was rolled back or aborted counts: otherwise each start of the node would deploy it again. One that
    failed does not: what it failed for may be gone. Only the newest counts: going back to older source is a change. One
    whose manifest could not be used was never made of anything: the one before it counts.
    """
    made = (row for number, row in sorted(change.versions.items(), reverse=True) if row.stage != MANIFEST)
    row = next(made, None)
    if row is None or row.source_digest != source_digest:
        return 0
    wanted = (VersionState.STAGED, VersionState.CANARY, VersionState.ACTIVE, VersionState.ROLLED_BACK)
    return row.number if row.state in wanted or row.stage == ABORTED else 0


def _mended(change: Change) -> None:
    """What failed for its manifest alone is nothing to look at any more."""
    for row in list(change.versions.values()):
        if row.stage == MANIFEST and row.state is VersionState.FAILED and row.number > change.service.active:
            supersede(change, row.number, "the manifest was mended", stage=MANIFEST)


def built(change: Change, message: VersionBuilt) -> None:
    """DEVELOPMENT -> STAGED; its instance is started. A build that a newer one overtook changes nothing."""
    number = message.version.number
    row = existing(change, number)
    if row.state is not VersionState.DEVELOPMENT:
        return
    diff = contracts.difference(change, message)
    if contracts.refuses(change, message, diff):
        return
    semver = _name(change, number, message.semver, message.build)
    metadata = {**message.metadata, "contract": contracts.told(change, diff)} if diff else message.metadata
    change.set_version(
        number,
        state=VersionState.STAGED,
        build=message.build,
        semver=semver,
        folder=Path(str(message.metadata.get("root", f"v{semver}"))).name,
        launch=message.launch,
        env_digest=message.env_digest,
        health=message.health,
        scale=message.scale,
        metadata=to_jsonable_python(metadata),
        **offers(message.contract),
    )
    contracts.hold(change, message, diff)
    stage(change, number)


def stage(change: Change, number: int) -> None:
    """Makes a STAGED version the one that comes next, and has it started."""
    waiting = change.service.staged
    if waiting:
        supersede(change, waiting, f"{change.key(number)} is newer")
        change.effect(EffectKind.RELEASE, waiting)
    change.set_service(staged=number)
    change.effect(EffectKind.ENSURE, number)
    change.effect(EffectKind.LINKS)
    change.say(EventType.VERSION_STAGED, Status.SUCCESS, number, build=change.version(number).build)
    change.say(EventType.DEPLOY_START, Status.PENDING, number, strategy=change.service.strategy.value)
    collect(change)


def broken(change: Change, message: VersionBroken) -> None:
    """DEVELOPMENT -> FAILED, or SUPERSEDED where a newer change cancelled the run."""
    number = message.version.number
    if existing(change, number).state is not VersionState.DEVELOPMENT:
        return
    if message.superseded:
        supersede(change, number, message.reason[:REASON_MAX], stage=message.stage)
        return
    change.set_version(
        number,
        state=VersionState.FAILED,
        stage=message.stage,
        reason=message.reason[:REASON_MAX],
        metadata=to_jsonable_python(message.metadata),
    )
    change.say(EventType.VERSION_FAILED, Status.FAILED, number, stage=message.stage, reason=message.reason[:REASON_MAX])


def declare(change: Change, message: DeclareService) -> Any:
    """A version of a service that is run, STAGED until it answers; the same declaration twice is the same version."""
    if not change.exists:
        change.create_service(ServiceRow(service=message.service, kind=Kind.DECLARED))
    elif change.service.kind is Kind.DEVELOPED and change.service.wanted and not message.takes_over:
        raise Conflict(
            f"cannot declare {message.service}: a service of this name is developed",
            hint=f"rename [services.{message.service}], or remove the folder dev/{message.service}",
        )
    newest = change.versions.get(change.service.last_number)
    same = newest is not None and newest.launch == message.launch and newest.semver.partition("+")[0] == message.semver
    if newest is not None and same and newest.state in (VersionState.STAGED, VersionState.ACTIVE):
        return newest.key
    number = change.service.last_number + 1
    change.set_service(kind=Kind.DECLARED, retired=False, last_number=number)
    change.add_version(
        VersionRow(
            service=message.service,
            number=number,
            state=VersionState.STAGED,
            semver=_name(change, number, message.semver, ""),
            launch=message.launch,
            metadata=to_jsonable_python(message.metadata),
        )
    )
    change.say(EventType.VERSION_CREATED, Status.PENDING, number)
    stage(change, number)
    return change.key(number)


def retire(change: Change, _: RetireService) -> None:
    """A declared service is no more: everything stops, the rows stay."""
    if change.exists and change.service.kind is Kind.DECLARED and not change.service.retired:
        end(change, "no longer declared")


# -- shared ----------------


def end(change: Change, why: str) -> None:
    """Nothing of the service serves, runs or is built any more; its versions stay as history."""
    for number in sorted(change.service.wanted):
        change.effect(EffectKind.RELEASE, number)
    for row in list(change.versions.values()):
        if row.state is VersionState.ACTIVE:
            change.set_version(row.number, state=VersionState.ARCHIVED, probation=False, reason=why)
            change.say(EventType.VERSION_ARCHIVED, Status.SUCCESS, row.number)
        elif row.state.live:
            supersede(change, row.number, why)
    serving = dict.fromkeys(("active", "previous", "permanent", "canary", "staged", "rollback_to", "holdback"), 0)
    change.set_service(**serving, **NO_STEP, **NOTHING_COLD, probation_until_s=0.0, held=False, retired=True)
    change.next_epoch()
    change.say(EventType.SERVICE_UPDATED, Status.SUCCESS, reason=why)


def existing(change: Change, number: int) -> VersionRow:
    """The version's row.

    Raises:
        NotFound: There is no such version.
    """
    row = change.versions.get(number)
    if row is None:
        raise NotFound(f"cannot find version {change.key(number)}", hint=f"see `henslowe versions {change.name}`")
    return row


def supersede(change: Change, number: int, reason: str, stage: str = "") -> None:
    """A newer version made this one pointless."""
    change.set_version(number, state=VersionState.SUPERSEDED, reason=reason, stage=stage)
    change.say(EventType.VERSION_SUPERSEDED, Status.CANCELLED, number, reason=reason)


def fail_staged(change: Change, *, stage: str, reason: str, status: Status = Status.FAILED) -> None:
    """The staged version comes to nothing: FAILED, its instance let go, and said with this status."""
    number = change.service.staged
    change.set_version(number, state=VersionState.FAILED, stage=stage, reason=reason)
    change.set_service(staged=0)
    change.effect(EffectKind.RELEASE, number)
    change.effect(EffectKind.LINKS)
    change.say(EventType.VERSION_FAILED, status, number, stage=stage, reason=reason)


def offers(contract: Contract) -> dict[str, Any]:
    """The fields of a version row that say what it offers."""
    return {
        "contract_digest": contract.digest,
        "tools": tuple(str(tool.get("name", "")) for tool in contract.tools),
        "prompts": tuple(str(prompt.get("name", "")) for prompt in contract.prompts),
        "resources": tuple(str(resource.get("uri", "")) for resource in contract.resources),
        "resource_templates": tuple(str(one.get("uriTemplate", "")) for one in contract.resource_templates),
    }


def unique_semver(service: ServiceRow, versions: Mapping[int, VersionRow], number: int, semver: str, build: str) -> str:
    """The semver where it is the first of its name, else with `+NUMBER`; the same build may share a name.

    A name is not given twice, also not after its version was removed: its folder may still be there.
    """
    semver = semver or "0.0.0"
    plain = semver.partition("+")[0]
    others = {row.semver: row for row in versions.values() if row.number != number}
    for name in (semver, f"{plain}+{number}"):
        row = others.get(name)
        if (row is None and name not in service.semvers) or (row is not None and build and row.build == build):
            return name
    return f"{plain}+{number}"


def _name(change: Change, number: int, semver: str, build: str) -> str:
    name = unique_semver(change.service, change.versions, number, semver, build)
    if "+" not in name and name not in change.service.semvers:
        change.set_service(semvers=(*change.service.semvers, name)[-SEMVERS_MAX:])
    return name


def collect(change: Change) -> None:
    """Forgets the oldest versions beyond the number to keep, those that served and those that did not apart."""
    service, keep = change.service, change.facts.policy.keep_versions
    spared = service.wanted | {service.permanent, service.last_number}
    spared |= {row.number for row in change.versions.values() if row.pinned}
    over = [row for row in change.versions.values() if not row.state.live and row.number not in spared]
    for group in ([row for row in over if row.state.served], [row for row in over if not row.state.served]):
        for row in sorted(group, key=lambda row: -row.number)[keep:]:
            change.remove_version(row.number)
