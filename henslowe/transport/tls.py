"""TLS for the listener: a certificate that may be replaced while connections are open.

The listener's context never changes. What changes is the context that a handshake is handed over to, so a connection
keeps what it began with, and a certificate that cannot be loaded leaves the one before it in use.
"""

from __future__ import annotations

import logging
import ssl
from pathlib import Path
from typing import Any, Final

from henslowe.config.settings import Settings
from henslowe.errors import ConfigError

log = logging.getLogger(__name__)

POLL_S: Final = 5.0
"""How often the files are looked at."""
Stamp = tuple[tuple[int, int, int], ...]


class Certificate:
    """A certificate with its key, from files. Runs in: the node's loop.

    Raises:
        ConfigError: They cannot be read, or do not belong together.
    """

    def __init__(self, cert_file: Path, key_file: Path) -> None:
        self._files = (cert_file, key_file)
        self._stamp = self._look()
        self._current = self._load()
        self.context = _context()
        """For the listener."""
        self.context.load_cert_chain(*self._files)
        self.context.sni_callback = self._hand_over  # called at each handshake, with or without a server name

    def refresh(self) -> bool:
        """Load the files if they have changed; whether they were. A failure is logged and changes nothing."""
        try:
            stamp = self._look()
            if stamp == self._stamp:
                return False
            self._stamp = stamp  # also of files that cannot be loaded: said once
            self._current = self._load()
        except ConfigError as error:
            log.error("certificate_not_loaded", extra={"reason": error.message})  # noqa: TRY400 - the file's fault
            return False
        log.info("certificate_loaded", extra={"file": str(self._files[0])})
        return True

    def _hand_over(self, connection: Any, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = self._current

    def _look(self) -> Stamp:
        try:
            stats = [path.stat() for path in self._files]
        except OSError as error:
            raise ConfigError(
                f"cannot read the certificate: {error.strerror}: {error.filename}",
                hint="check tls.cert_file and tls.key_file",
            ) from error
        return tuple((stat.st_mtime_ns, stat.st_size, stat.st_ino) for stat in stats)

    def _load(self) -> ssl.SSLContext:
        context = _context()
        try:
            context.load_cert_chain(*self._files)
        except (OSError, ssl.SSLError) as error:
            raise ConfigError(
                f"cannot use the certificate {self._files[0]} with the key {self._files[1]}: {error}",
                hint="they must be PEM, belong together, and the key must have no password",
            ) from error
        return context


def certificate_of(settings: Settings) -> Certificate | None:
    """The certificate that a configuration names, if any. Raises as `Certificate`."""
    tls = settings.tls
    return None if tls.cert_file is None or tls.key_file is None else Certificate(tls.cert_file, tls.key_file)


def _context() -> ssl.SSLContext:
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    return context
