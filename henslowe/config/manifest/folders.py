"""The services of a workspace as data: their `service.toml` read, written, added and set aside.

A file is validated as a whole, with the sources beside it, before it takes the place of the old one in one rename; what
is wrong leaves everything as it was. Nothing is ever deleted: a removed service is set aside.

Blocking: call it in a thread. Not here: what follows from a change; the watcher sees it like an edit by hand.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from henslowe.config.manifest.delivery import Delivery
from henslowe.config.manifest.editing import TEXT_CHARS_MAX, edited, etag_of
from henslowe.config.manifest.models import SERVICE_FILE, ServiceManifest
from henslowe.config.manifest.reading import read_manifest
from henslowe.errors import Conflict, HensloweError, ManifestError, NotFound, PreconditionFailed, WorkspaceError

ANY: Final = "*"
"""As the expected etag: any content, but there must be one."""
SET_ASIDE: Final = "removed"
"""In the data directory."""

Check = Callable[[ServiceManifest], object]
"""Raises `ManifestError` where a manifest cannot be used for what only others know."""


@dataclass(slots=True, frozen=True)
class ServiceText:
    """A service and its `service.toml`."""

    service: str
    folder: Path
    text: str
    """Empty where there is no file: everything is inferred."""
    created: bool = False
    """Whether this is what made the service."""
    builds: bool = False
    """Whether the change touches the build, so that a version will be made."""

    @property
    def etag(self) -> str:
        """Changes with the text."""
        return etag_of(self.text)


class ServiceFolders:
    """The folders below `dev/` of a workspace.

    Args:
        workspace: Has `dev/`.
        data_dir: Takes what is set aside.
        declared: Names that `henslowe.toml` has.
        check: Looks at a manifest beyond its own model.
    """

    def __init__(
        self, workspace: Path, data_dir: Path, *, declared: Collection[str] = (), check: Check = lambda _: None
    ) -> None:
        self._dev = workspace / "dev"
        self._aside = data_dir / SET_ASIDE
        self._declared = frozenset(declared)
        self._check = check

    def read(self, service: str) -> ServiceText:
        """A service as it is.

        Raises:
            NotFound: There is no such folder.
            ManifestError: Its file is no text.
        """
        folder = self._dev / service
        if not folder.is_dir():
            raise NotFound(
                f"cannot find {service}: there is no folder dev/{service}",
                hint="henslowe status lists the services; one that henslowe.toml declares is changed there",
            )
        try:
            with (folder / SERVICE_FILE).open(encoding="utf-8") as file:
                text = file.read(TEXT_CHARS_MAX + 1)
        except FileNotFoundError:
            text = ""
        except (OSError, UnicodeDecodeError) as error:
            raise ManifestError(f"cannot read {SERVICE_FILE}: {error}", file=SERVICE_FILE, key="") from error
        return ServiceText(service, folder, text)

    def add(self, service: str, text: str) -> ServiceText:
        """A new service that is its `service.toml`: a command or a URL.

        Raises:
            Conflict: The name is taken.
            ManifestError: The text cannot be used; nothing was made.
            WorkspaceError: The folder cannot be written.
        """
        self._refuse_taken(service)
        folder = self._dev / service
        aside = self._dev / f".{service}.{os.getpid()}.new"
        try:
            aside.mkdir(parents=True)
            try:
                self._validated(aside, service, text)
                (aside / SERVICE_FILE).write_text(text, encoding="utf-8")
                aside.rename(folder)
            finally:
                if aside.is_dir():
                    (aside / SERVICE_FILE).unlink(missing_ok=True)
                    aside.rmdir()
        except OSError as error:
            raise _unwritable(folder, error) from error
        return ServiceText(service, folder, text, created=True, builds=True)

    def link(self, service: str, sources: Path) -> ServiceText:
        """A new service that is developed elsewhere: `dev/<service>` becomes a link.

        Raises:
            Conflict: The name is taken.
            ManifestError: Nothing says how to run what is there; nothing was made.
            WorkspaceError: The link cannot be made, or there is no such folder.
        """
        self._refuse_taken(service)
        if not sources.is_dir():
            raise WorkspaceError(f"expected a folder of sources, got: {sources}", hint="give the path of a folder")
        self._check(read_manifest(sources, service))
        try:
            self._dev.mkdir(parents=True, exist_ok=True)
            (self._dev / service).symlink_to(sources.resolve())
        except OSError as error:
            raise _unwritable(self._dev / service, error) from error
        made = self.read(service)
        return ServiceText(service, made.folder, made.text, created=True, builds=True)

    def write(self, service: str, text: str, *, expected: str = "") -> ServiceText:
        """Another text for a service; the old one stays if this cannot be used.

        Args:
            service: Which.
            text: All of the new text.
            expected: The etag that the old one must have; "" for any.

        Raises:
            NotFound: There is no such folder.
            PreconditionFailed: Somebody changed it meanwhile.
            ManifestError: The text cannot be used.
            WorkspaceError: The file cannot be written.
        """
        before = self.read(service)
        if expected not in ("", ANY, before.etag):
            raise PreconditionFailed(
                f"cannot change {service}: its {SERVICE_FILE} was changed since it was read",
                hint="read it again, and make the change on what it says now",
                etag=before.etag,
            )
        after = self._validated(before.folder, service, text)
        builds = _building(after) != self._building_before(before)
        path = (before.folder / SERVICE_FILE).resolve()
        aside = path.with_name(f".{SERVICE_FILE}.{os.getpid()}")
        try:
            aside.write_text(text, encoding="utf-8")
            if path.exists():
                aside.chmod(path.stat().st_mode & 0o777)
            aside.replace(path)
        except OSError as error:
            raise _unwritable(path, error) from error
        finally:
            aside.unlink(missing_ok=True)
        return ServiceText(service, before.folder, text, builds=builds)

    def edit(
        self, service: str, assign: Mapping[str, Any], remove: Iterable[str] = (), *, expected: str = ""
    ) -> ServiceText:
        """Some keys of a service changed; comments stay. As `write`."""
        before = self.read(service)
        return self.write(service, edited(before.text, assign, remove), expected=expected or before.etag)

    def set_aside(self, service: str, *, expected: str = "") -> Path:
        """Take a service out of the workspace; where its folder is now. A link is only undone.

        Raises:
            NotFound: There is no such folder.
            PreconditionFailed: Its file was changed since.
            WorkspaceError: It cannot be moved.
        """
        found = self.read(service)
        if expected not in ("", ANY, found.etag):
            raise PreconditionFailed(
                f"cannot remove {service}: its {SERVICE_FILE} was changed since it was read", etag=found.etag
            )
        try:
            if found.folder.is_symlink():
                sources = found.folder.resolve()
                found.folder.unlink()
                return sources
            self._aside.mkdir(parents=True, exist_ok=True)
            target = self._aside / f"{service}-{time.time_ns() // 1_000_000}"
            found.folder.rename(target)
        except OSError as error:
            raise _unwritable(found.folder, error) from error
        return target

    def _validated(self, folder: Path, service: str, text: str) -> ServiceManifest:
        if len(text) > TEXT_CHARS_MAX:
            raise ManifestError(f"expected {SERVICE_FILE} to have at most {TEXT_CHARS_MAX} characters, got {len(text)}")
        manifest = read_manifest(folder, service, text=text)
        self._check(manifest)
        return manifest

    def _building_before(self, before: ServiceText) -> str:
        """What the build was; "" where it could not be told: then any text that is right is a change."""
        try:
            return _building(read_manifest(before.folder, before.service, text=before.text))
        except HensloweError:
            return ""

    def _refuse_taken(self, service: str) -> None:
        if service in self._declared:
            raise Conflict(
                f"cannot add {service}: henslowe.toml declares a service of that name", hint="choose another name"
            )
        if os.path.lexists(self._dev / service):
            raise Conflict(
                f"cannot add {service}: there is a folder dev/{service}",
                hint=f"choose another name, or: henslowe service set {service} KEY=VALUE",
            )


def _building(manifest: ServiceManifest) -> str:
    return manifest.model_dump_json(exclude=set(Delivery.model_fields))


def _unwritable(path: Path, error: OSError) -> WorkspaceError:
    return WorkspaceError(f"cannot write {path}: {error.strerror}", hint="check its owner and mode")
