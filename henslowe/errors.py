"""The whole error taxonomy: every error that Henslowe raises on purpose descends from `HensloweError`.

An error says what went wrong ("cannot VERB OBJECT: CAUSE" or "expected X, got Y"), carries a stable `code`
that programs may match on, and a `hint` that names the command to run or the key to change. Operating errors
go to the caller; programmer errors are ordinary exceptions, crash their actor, and the supervisor decides.

Exits of actors (`ActorExit`) live in `henslowe.actors.kernel`: they are signals, not mistakes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar


class HensloweError(Exception):
    """Base of all operating errors.

    Args:
        message: One sentence: the operation and its cause.
        hint: The command to run or the key to change, or "" when there is nothing to do.
        details: Values for programs (JSON-serialisable), shown by `--json` and by the admin API.
    """

    code: ClassVar[str] = "error"
    exit_code: ClassVar[int] = 1
    """Exit status of the CLI: 1 failed, 2 usage or configuration, 3 node unreachable, 4 unhealthy or gate failed."""

    def __init__(self, message: str, *, hint: str = "", **details: Any) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.details = details

    def as_dict(self) -> dict[str, Any]:
        """The error as an additive JSON contract: `code`, `message`, `hint`, `details`."""
        return {"code": self.code, "message": self.message, "hint": self.hint, "details": self.details}


class ConfigError(HensloweError):
    """A setting, a manifest or a flag is not what was expected."""

    code = "config"
    exit_code = 2


class ManifestError(ConfigError):
    """A service's manifest (`service.toml`, `pyproject.toml`, `package.json`) cannot be used."""

    code = "manifest"


class ListenRefused(ConfigError):
    """An address may not be listened on: non-loopback without a token."""

    code = "listen_refused"


class ListenFailed(HensloweError):
    """The operating system refused the address: taken, or not permitted."""

    code = "listen_failed"


class WorkspaceError(ConfigError):
    """The workspace cannot be used: not a folder, or not writable."""

    code = "workspace"


class StorageError(HensloweError):
    """A table, the event store or the archive could not do what was asked."""

    code = "storage"


class DataDirBusy(StorageError):
    """Another node holds the data directory."""

    code = "data_dir_busy"


class FormatTooNew(StorageError):
    """The data directory was written by a newer Henslowe; refusing protects it."""

    code = "format_too_new"
    exit_code = 2


class Corrupt(StorageError):
    """A record's or an object's checksum does not match its content."""

    code = "corrupt"


class StorageDegraded(StorageError):
    """Writes are refused (disk full or an I/O error); reads go on."""

    code = "storage_degraded"


class KeyRefused(StorageError):
    """A table key has a type or a length that cannot be stored in order."""

    code = "key_refused"


class Conflict(HensloweError):
    """A command met another state than it expected: a stale epoch, a transition that the table does not have."""

    code = "conflict"


class PreconditionFailed(Conflict):
    """Somebody else changed it since it was read."""

    code = "precondition_failed"


class Fenced(Conflict):
    """Somebody writes what is another's, or was theirs: a table was claimed by another owner, or again since."""

    code = "fenced"


class NotFound(HensloweError):
    """A service, version, session or event that does not exist."""

    code = "not_found"
    exit_code = 2


class StageFailed(HensloweError):
    """A pipeline stage ended with a failure that belongs to the source, not to the node."""

    code = "stage_failed"
    exit_code = 4


class InstanceFailed(HensloweError):
    """An MCP server could not be started, or ended, or does not speak the protocol."""

    code = "instance_failed"


class LaunchFailed(HensloweError):
    """An operating system process could not be started: no such command, or no such folder."""

    code = "launch_failed"


class Unavailable(HensloweError):
    """No instance of the service can take the call now (starting, draining or crashed)."""

    code = "unavailable"


class UpstreamLost(HensloweError):
    """An instance went away while a call was in flight; whether it ran is unknown unless `sent` is False.

    `details["sent"]` says whether any byte of the request may have reached the server.
    """

    code = "upstream_lost"


class LimitReached(HensloweError):
    """A queue, a size or a count is at its configured limit."""

    code = "limit_reached"


class NodeUnreachable(HensloweError):
    """No node answers for this workspace."""

    code = "node_unreachable"
    exit_code = 3


class Unauthorised(HensloweError):
    """A request carries no valid token."""

    code = "unauthorised"


class Forbidden(HensloweError):
    """Who asks is known and may not do this; `details["scope"]` or `details["policy"]` says what stands against it."""

    code = "forbidden"


class BadRequest(HensloweError):
    """A request has a path, a method, a parameter or a body that is not what was expected."""

    code = "bad_request"
    exit_code = 2


class TooLarge(LimitReached):
    """What was sent is longer than may be."""

    code = "too_large"


class RateLimited(LimitReached):
    """A client asks more often than it may; `details["retry_after_s"]` says how long to wait."""

    code = "rate_limited"


def revived(said: Mapping[str, Any]) -> HensloweError:
    """The error that `as_dict` described in another process; of the base class when this one does not know its code."""
    known = {cls.code: cls for cls in globals().values() if isinstance(cls, type) and issubclass(cls, HensloweError)}
    made = known.get(str(said["code"]), HensloweError)(str(said["message"]), hint=str(said.get("hint", "")))
    made.details = dict(said.get("details", {}))
    return made
