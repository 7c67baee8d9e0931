"""The root token in a file of mode 0600: made once, read strictly.

The node lets in whoever shows it (`henslowe.transport.access.authenticator`); the CLI reads the same file. Tokens that
can be limited, expire and be revoked are `henslowe.actors.access`.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import stat
from pathlib import Path

from henslowe.errors import ConfigError

TOKEN_BYTES = 32
"""Entropy of a new token: 256 bits."""
TOKEN_LENGTH_MIN = 16
"""Shortest token accepted from a file a person wrote."""
_FILE_BYTES_MAX = 4096


def ensure_token(path: Path) -> str:
    """The token in the file; when there is no file, a new one is made, whole and with mode 0600.

    Raises:
        ConfigError: The file is open to other users, empty, too short, or cannot be read or made.
    """
    with contextlib.suppress(FileNotFoundError):
        return read_token(path)
    token = secrets.token_urlsafe(TOKEN_BYTES)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "w") as file:
            file.write(token + "\n")
        # A link instead of a rename: the first of two starters wins, and both then read the same token.
        with contextlib.suppress(FileExistsError):
            os.link(temporary, path)
    except OSError as error:
        raise ConfigError(
            f"cannot make the token file {path}: {error.strerror}",
            hint="choose a writable place with --token-file FILE",
            path=str(path),
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return read_token(path)


def read_token(path: Path) -> str:
    """The token in the file, without surrounding white space.

    Raises:
        FileNotFoundError: There is no such file.
        ConfigError: The file is open to other users, empty, too short, or cannot be read.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            content = file.read(_FILE_BYTES_MAX)
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ConfigError(
            f"cannot read the token file {path}: {error.strerror}", hint="check its owner and mode", path=str(path)
        ) from error
    if stat.S_IMODE(mode) & 0o077:
        raise ConfigError(
            f"expected the token file {path} to be closed to other users, got: mode {stat.S_IMODE(mode):04o}",
            hint=f"run: chmod 600 {path}",
            path=str(path),
        )
    token = content.decode("ascii", errors="replace").strip()
    if len(token) < TOKEN_LENGTH_MIN or not token.isascii() or not token.isprintable() or " " in token:
        raise ConfigError(
            f"expected the token file {path} to hold one line of at least {TOKEN_LENGTH_MIN} printable ASCII "
            f"characters, got: {len(token)} characters",
            hint=f"remove {path} and start the node again: it makes a new one",
            path=str(path),
        )
    return token
