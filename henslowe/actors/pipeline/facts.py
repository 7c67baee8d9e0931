"""What a version says of where it comes from: who and why, digests, how its stages went, what it offers. Pure.

Kept in the version's row and in the note beside its build; what the version machine adds (the change of the contract)
is only in the row.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final

from henslowe.actors.ids import VersionKey
from henslowe.actors.pipeline.mcp_check import Checked
from henslowe.actors.pipeline.preparing import Prepared
from henslowe.actors.pipeline.stages import StageReport

BY_EDIT: Final = "edit"
"""Who made a version that nobody asked for by name: whoever saved the sources."""
_CHANGED_MAX: Final = 20


def origin(version: VersionKey, *, by: str, changed: Sequence[str]) -> dict[str, Any]:
    """Who and why."""
    more = f" and {len(changed) - _CHANGED_MAX} more" if len(changed) > _CHANGED_MAX else ""
    why = f"changed: {', '.join(changed[:_CHANGED_MAX])}{more}" if changed else "found by the watcher"
    return {
        "service": version.service,
        "version": version.number,
        "by": by or BY_EDIT,
        "why": "asked for by name" if by else why,
    }


def course(prepared: Prepared, reports: Mapping[str, StageReport], *, isolation: str, kept: str) -> dict[str, Any]:
    """Of what it was made, and how the stages went so far; also of a version that failed."""
    manifest, lock = prepared.manifest, prepared.env.lock
    return {
        "origin": manifest.origin,
        "runtime": manifest.runtime.value,
        "source_digest": prepared.snapshot.digest,
        "env_digest": prepared.env.digest,
        "lock": lock.file if lock is not None else "",
        "lock_digest": lock.digest if lock is not None else "",
        "stages": {name: report.as_dict() for name, report in reports.items()},
        "isolation": isolation,
        "kept": kept,
    }


def offer(checked: Checked) -> dict[str, Any]:
    """What `mcp-check` found."""
    contract = checked.contract
    return {
        "era": checked.era,
        "eras": list(checked.eras),
        "protocol_version": checked.protocol_version,
        "server_info": checked.server_info,
        "contract_digest": contract.digest,
        "examples": checked.examples,
        "offers": {
            "tools": len(contract.tools),
            "prompts": len(contract.prompts),
            "resources": len(contract.resources) + len(contract.resource_templates),
        },
    }
