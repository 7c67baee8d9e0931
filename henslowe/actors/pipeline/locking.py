"""Locked dependencies: which file locks them, its digest, and what it means when a package is not what it says.

| lock | made by | installed by |
|---|---|---|
| `uv.lock` | `uv lock` | `uv sync --locked` |
| `server.py.lock` | `uv lock --script server.py` | its export, `--require-hashes` |
| `requirements.txt` with `--hash` | `uv pip compile --generate-hashes` | `--require-hashes` |
| `package-lock.json` | `npm install` | `npm ci` |

Without one the newest packages that fit are installed, and the version says that it is not locked.
Reads small files; otherwise pure.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from henslowe.config.inference import Dependencies, DependencyKind
from henslowe.errors import StageFailed

_HASHED: Final = re.compile(rb"(^|\s)--hash[= ]")
_UV_MISMATCH: Final = re.compile(r"Hash mismatch for `([^`]{1,200})`")
_UV_STALE: Final = re.compile(r"lockfile at `([^`]{1,200})` needs to be updated")
_UV_UNHASHED: Final = re.compile(
    r"In `--require-hashes` mode, all requirements must have a hash, but none were provided"
)
_NPM_MISMATCH: Final = re.compile(r"\bEINTEGRITY\b")
_NPM_STALE: Final = re.compile(r"can only install packages when your package\.json and .* are in sync")
_RELOCK: Final = {
    DependencyKind.UV_LOCK: "uv lock",
    DependencyKind.PEP_723: "uv lock --script server.py",
    DependencyKind.REQUIREMENTS: "uv pip compile --generate-hashes",
    DependencyKind.NPM_LOCK: "npm install --package-lock-only",
}
SCRIPT_LOCK: Final = "server.py.lock"


@dataclass(slots=True, frozen=True)
class Lock:
    """The file that says what is installed, to the byte."""

    file: str
    digest: str
    """SHA-256 of its content."""


def lock_of(wants: Dependencies, folder: Path) -> Lock | None:
    """The lock of these dependencies; None where there is none."""
    match wants.kind:
        case DependencyKind.UV_LOCK | DependencyKind.NPM_LOCK:
            file = wants.files[-1]
        case DependencyKind.PEP_723 if SCRIPT_LOCK in wants.files:
            file = SCRIPT_LOCK
        case DependencyKind.REQUIREMENTS if _HASHED.search((folder / wants.files[0]).read_bytes()):
            file = wants.files[0]
        case _:
            return None
    return Lock(file, hashlib.sha256((folder / file).read_bytes()).hexdigest())


def failure(wants: Dependencies, lock: Lock | None, tool: str, code: int, lines: Iterable[str]) -> StageFailed:
    """Why an installation ended with `code`, from what it printed."""
    text = "\n".join(lines)
    file = lock.file if lock is not None else "the requirements"
    relock = _RELOCK.get(wants.kind, "lock them again")
    mismatch = _UV_MISMATCH.search(text)
    if mismatch is not None or _NPM_MISMATCH.search(text):
        package = mismatch[1] if mismatch is not None else "a package"
        return StageFailed(
            f"cannot install the dependencies: {package} does not have the hash that {file} expects",
            hint=f"find out who changed it: the package or {file}. Only if the change is meant: {relock}",
            exit_code=code,
        )
    if _UV_STALE.search(text) or _NPM_STALE.search(text):
        return StageFailed(
            f"cannot install the dependencies: {file} does not fit what is asked for", hint=relock, exit_code=code
        )
    if _UV_UNHASHED.search(text):
        return StageFailed(
            f"cannot install the dependencies: expected a hash for each line of {file}, since some have one",
            hint=relock,
            exit_code=code,
        )
    return StageFailed(
        f"cannot install the dependencies: {tool} failed with code {code}",
        hint="the lines above say what could not be found or built",
        exit_code=code,
    )
