"""What versions offered, kept as long as they are, and what a new one changes for the clients of the active one.

A contract is kept once per service and digest: edits seldom change it. It is content, not state: rows name it by its
digest, `replay` needs none of it, and a missing one only means that nothing can be compared with it.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any, Final

import orjson
from pydantic import BaseModel, ConfigDict

from henslowe.actors.contracts import ContractDiff, Step, compare
from henslowe.actors.endpoints import Contract
from henslowe.actors.ids import ServiceName
from henslowe.actors.messages import OnBreak, VersionBuilt
from henslowe.actors.versions.change import Change
from henslowe.actors.versions.rows import VersionRow, VersionState
from henslowe.actors.vocabulary import EventType, Status
from henslowe.storage import TableSpec

SHOWN_MAX: Final = 20
"""Changes that a version's row keeps."""
STAGE: Final = "contract"


class ContractRow(BaseModel):
    """The listing objects of a contract, as JSON: they are read seldom and kept in memory."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    service: ServiceName
    digest: str
    lists: bytes

    @classmethod
    def of(cls, service: ServiceName, contract: Contract) -> ContractRow:
        """The row that keeps a contract."""
        lists = (contract.tools, contract.prompts, contract.resources, contract.resource_templates)
        return cls(service=service, digest=contract.digest, lists=orjson.dumps(lists))

    @property
    def contract(self) -> Contract:
        """The contract that is kept."""
        tools, prompts, resources, templates = map(tuple, orjson.loads(self.lists))
        return Contract(tools, prompts, resources, templates, self.digest)


CONTRACTS: Final = TableSpec(name="contracts", row_type=ContractRow, key=("service", "digest"))


def unneeded(
    kept: Iterable[tuple[ServiceName, str]], service: ServiceName, rows: Collection[VersionRow]
) -> list[tuple[ServiceName, str]]:
    """Keys of the contracts of a service that none of its versions has any more."""
    needed = {row.contract_digest for row in rows}
    return [key for key in kept if key[0] == service and key[1] not in needed]


def difference(change: Change, message: VersionBuilt) -> ContractDiff | None:
    """What a build changes for the clients of the active version; None when there is nothing to compare it with."""
    old = change.facts.active_contract
    return None if old is None or not message.contract.digest else compare(old, message.contract)


def told(change: Change, diff: ContractDiff) -> dict[str, Any]:
    """A difference for people and for a version's metadata."""
    return {
        "against": change.service.active,
        "step": diff.step.word,
        "changes": [one.as_dict() for one in diff.changes[:SHOWN_MAX]],
        "more": diff.more + max(0, len(diff.changes) - SHOWN_MAX),
    }


def swapped(change: Change, old: int, new: int) -> None:
    """Says what is different for clients, after one version followed another that offers something else."""
    before, after = change.version(old), change.version(new)
    if before.contract_digest and after.contract_digest and before.contract_digest != after.contract_digest:
        change.say(
            EventType.CONTRACT_CHANGED,
            Status.INFO,
            0,
            from_version=old,
            to_version=new,
            tools_added=sorted(set(after.tools) - set(before.tools)),
            tools_removed=sorted(set(before.tools) - set(after.tools)),
            step=_step_found(after, old),
        )


def _step_found(row: VersionRow, against: int) -> str:
    """The semver step that was found when the version was built; "" where it was compared with another, or not."""
    found = row.metadata.get("contract", {})
    return str(found["step"]) if found.get("against") == against else ""


def refuses(change: Change, message: VersionBuilt, diff: ContractDiff | None) -> bool:
    """Whether the build ends here: its break is not announced, and the service says that such a version fails."""
    number = message.version.number
    if diff is None or diff.step is not Step.MAJOR or message.on_break is not OnBreak.FAIL:
        return False
    active = change.version(change.service.active)
    if announces(active.semver, message.semver):
        return False
    reason = "\n".join(
        [
            f"it breaks clients of {active.key} (v{active.semver}), and its version {message.semver} does not say so",
            *(str(one) for one in diff.of(Step.MAJOR)[:SHOWN_MAX]),
            "hint: raise the major version, or set on_break to go or hold",
        ]
    )
    change.set_version(number, state=VersionState.FAILED, stage=STAGE, reason=reason)
    change.say(EventType.VERSION_FAILED, Status.FAILED, number, stage=STAGE, reason=reason, contract=told(change, diff))
    return True


def hold(change: Change, message: VersionBuilt, diff: ContractDiff | None) -> None:
    """Stops before traffic, where the service wants a person to look at a break that was not announced."""
    if diff is None or diff.step is not Step.MAJOR or message.on_break is not OnBreak.HOLD or change.service.held:
        return
    if announces(change.version(change.service.active).semver, message.semver):
        return
    change.set_service(held=True)
    change.say(EventType.CANARY_HOLD, Status.SUCCESS, message.version.number, by=STAGE, reason=diff.summary)


def announces(old: str, new: str) -> bool:
    """Whether a semver says that something breaks: a greater major number, below 1.0 a greater minor one."""
    before, after = (_numbers(text) for text in (old, new))
    return after[0] > before[0] or (after[0] == before[0] == 0 and after[1] > before[1])


def _numbers(semver: str) -> tuple[int, int]:
    major, _, rest = semver.partition(".")
    minor = rest.partition(".")[0]
    return (int(major) if major.isdigit() else 0, int(minor) if minor.isdigit() else 0)
