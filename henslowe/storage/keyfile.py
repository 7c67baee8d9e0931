"""The file with the keys that seal secrets: where it is, who may read it, and how it is made and renewed.

    # comment
    <32 bytes in Base64>        the current key: it seals
    <32 bytes in Base64>        older ones, while values are sealed anew: they open

It is never inside the data directory: a copy of the one must not be a copy of both. Looked for, in this order:

1. the systemd credential `henslowe.key` (`LoadCredential=henslowe.key:/etc/henslowe.key`),
2. `storage.secret_key_file`, also as the variable `HENSLOWE_SECRET_KEY_FILE`,
3. `~/.config/henslowe/keys/<id of the store>/secret.key`, made when it is first needed.
"""

from __future__ import annotations

import base64
import binascii
import os
import stat
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from henslowe.errors import ConfigError, StorageError
from henslowe.storage import filesystem
from henslowe.storage.sealing import KEY_BYTES, Keys

CREDENTIAL: Final = "henslowe.key"
VARIABLE: Final = "HENSLOWE_SECRET_KEY_FILE"
_FILE_BYTES_MAX: Final = 64 * 1024
_HEADING: Final = (
    b"# Keys of Henslowe's secrets. The first one seals. Keep a copy in a safe place, apart from backups.\n"
)


class KeySource(StrEnum):
    """Who said where the keys are."""

    CREDENTIAL = "credential"
    SETTING = "setting"
    DEFAULT = "default"


@dataclass(frozen=True, slots=True)
class KeyFile:
    """A place for keys, which need not exist yet.

    Attributes:
        path: The file.
        source: Who said so.
        data_dir: The node's data directory, where it must not be.
    """

    path: Path
    source: KeySource
    data_dir: Path

    @classmethod
    def find(
        cls, data_dir: Path, store_id: str, configured: Path | None, environ: Mapping[str, str] = os.environ
    ) -> KeyFile:
        """The place where the keys of a store are, or would be made."""
        credentials = environ.get("CREDENTIALS_DIRECTORY")
        if credentials and (found := Path(credentials, CREDENTIAL)).exists():
            return cls(found, KeySource.CREDENTIAL, data_dir)
        given = environ.get(VARIABLE) or configured
        if given:
            return cls(Path(given).expanduser(), KeySource.SETTING, data_dir)
        home = Path(environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME") or Path.home(), ".config"))
        return cls(home / "henslowe" / "keys" / store_id / "secret.key", KeySource.DEFAULT, data_dir)

    def read(self) -> Keys | None:
        """The keys; None when there is no file.

        Raises:
            ConfigError: Others may read it, it lies in the data directory, or its content is not keys.
            StorageError: It cannot be read.
        """
        self._refuse_inside()
        try:
            fd = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise StorageError(f"cannot read the key file {self.path}: {error.strerror}") from error
        with os.fdopen(fd, "rb") as file:
            self._refuse_shared(os.fstat(fd))
            content = file.read(_FILE_BYTES_MAX)
        return Keys(self._parsed(content))

    def make(self) -> Keys:
        """The keys of a new file with one new key.

        Raises:
            ConfigError: It would lie in the data directory.
            StorageError: It cannot be written, or is there already.
        """
        self._refuse_inside()
        keys = Keys((os.urandom(KEY_BYTES),))
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            # Exclusively: of two processes one makes it, and nobody's keys are ever overwritten.
            fd = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(fd, "wb") as file:
                file.write(_content(keys.keys))
                file.flush()
                os.fsync(fd)
            filesystem.sync_dir(self.path.parent)
        except OSError as error:
            raise StorageError(
                f"cannot make the key file {self.path}: {error.strerror}",
                hint=f"set storage.secret_key_file (or {VARIABLE}) to a place that can be written",
            ) from error
        return keys

    def write(self, keys: Sequence[bytes]) -> Keys:
        """Makes `keys` the content, whole or not at all.

        Raises:
            StorageError: It cannot be written.
        """
        self._refuse_inside()
        try:
            filesystem.write_durably(self.path.resolve(), _content(keys), mode=0o600)
        except OSError as error:
            raise StorageError(f"cannot write the key file {self.path}: {error.strerror}") from error
        return Keys(tuple(keys))

    @property
    def ours(self) -> bool:
        """Whether rotation may write it: a credential is the service manager's."""
        return self.source is not KeySource.CREDENTIAL

    def _refuse_inside(self) -> None:
        if self.path.resolve().is_relative_to(self.data_dir.resolve()):
            raise ConfigError(
                f"cannot use the key file {self.path}: it lies in the data directory, and so in every copy of it",
                hint="move it elsewhere and set storage.secret_key_file",
            )

    def _refuse_shared(self, status: os.stat_result) -> None:
        if not stat.S_ISREG(status.st_mode):
            raise ConfigError(f"cannot use the key file {self.path}: expected a file")
        # The service manager may let its own group or an access list read a credential.
        if status.st_mode & (0o007 if self.source is KeySource.CREDENTIAL else 0o077):
            raise ConfigError(
                f"cannot use the key file {self.path}: others may read it (mode {status.st_mode & 0o777:04o})",
                hint=f"chmod 600 {self.path}; if somebody may have read it, then: henslowe secrets rotate",
            )
        if status.st_uid not in (0, os.geteuid()):
            raise ConfigError(
                f"cannot use the key file {self.path}: expected it to be user {os.geteuid()}'s, got {status.st_uid}'s",
                hint=f"chown {os.geteuid()} {self.path}",
            )

    def _parsed(self, content: bytes) -> tuple[bytes, ...]:
        lines = [line.strip() for line in content.splitlines()]
        try:
            keys = tuple(base64.b64decode(line, validate=True) for line in lines if line and not line.startswith(b"#"))
        except (binascii.Error, ValueError):
            keys = ()
        if not keys or any(len(key) != KEY_BYTES for key in keys):
            raise ConfigError(
                f"cannot use the key file {self.path}: expected lines of {KEY_BYTES} bytes in Base64",
                hint=f"openssl rand -base64 {KEY_BYTES} makes one",
            )
        return keys


def _content(keys: Sequence[bytes]) -> bytes:
    return _HEADING + b"".join(base64.b64encode(key) + b"\n" for key in keys)
