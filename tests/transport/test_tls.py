"""TLS of the listener: its versions, and a certificate that is replaced while connections are open."""

from __future__ import annotations

import asyncio
import datetime as dt
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from henslowe.actors.kernel import Scheduler
from henslowe.config.listen import Address
from henslowe.errors import ConfigError
from henslowe.transport.listener import Listener, Look, bind_tcp
from henslowe.transport.tls import Certificate


def certify(folder: Path, name: str = "one") -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 that says its name, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    who = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = dt.datetime.now(dt.UTC)
    built = (
        x509.CertificateBuilder()
        .subject_name(who)
        .issuer_name(who)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(hours=1))
        .not_valid_after(now + dt.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    cert_file, key_file = folder / "cert.pem", folder / "key.pem"
    # Renamed over the old ones, as certificate managers do.
    for path, content in (
        (cert_file, built.public_bytes(serialization.Encoding.PEM)),
        (
            key_file,
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            ),
        ),
    ):
        new = path.with_suffix(".new")
        new.write_bytes(content)
        new.replace(path)
    return cert_file, key_file


class Served:
    """A listener with a certificate, and an application that says hello."""

    def __init__(self, ref: Any, port: int) -> None:
        self.ref = ref
        self.port = port

    async def connect(self, **limits: Any) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        for name, value in limits.items():
            setattr(context, name, value)
        return await asyncio.open_connection("127.0.0.1", self.port, ssl=context)

    async def name_shown(self) -> str:
        """The name in the certificate that a new connection is shown."""
        _, writer = await self.connect()
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        (attribute,) = x509.load_der_x509_certificate(der).subject
        return str(attribute.value)

    async def look(self) -> None:
        self.ref.send(Look())
        await self.ref.get_state()


async def get(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bytes:
    writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(5):
        head = await reader.readuntil(b"\r\n\r\n")
        length = int(head.lower().partition(b"content-length: ")[2].partition(b"\r\n")[0])
        return await reader.readexactly(length)


@asynccontextmanager
async def served(cert_file: Path, key_file: Path) -> AsyncIterator[Served]:
    async def hello(_request: web.Request) -> web.Response:
        return web.Response(text="hello")

    def make() -> web.Application:
        app = web.Application()
        app.router.add_get("/", hello)
        return app

    Scheduler.install()
    sock = bind_tcp(Address("127.0.0.1", 0))
    ref = await Listener.start_link(make, [sock], Certificate(cert_file, key_file))
    assert ref is not None
    try:
        yield Served(ref, sock.getsockname()[1])
    finally:
        await ref.stop(block=False)
        sock.close()


async def test_a_new_certificate_is_shown_to_new_connections_and_old_ones_go_on(tmp_path: Path) -> None:
    async with served(*certify(tmp_path)) as listener:
        reader, writer = await listener.connect()
        assert await get(reader, writer) == b"hello"
        assert await listener.name_shown() == "one"
        certify(tmp_path, "two")
        assert await listener.name_shown() == "one", "nobody has looked yet"
        await listener.look()
        assert await listener.name_shown() == "two"
        assert await get(reader, writer) == b"hello", "the old connection was not dropped"
        writer.close()


async def test_a_certificate_that_cannot_be_loaded_leaves_the_one_before_it(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with served(*certify(tmp_path)) as listener:
        (tmp_path / "cert.pem").write_text("not a certificate")
        await listener.look()
        await listener.look()
        assert await listener.name_shown() == "one"
        assert [record.message for record in caplog.records].count("certificate_not_loaded") == 1, "said once"
        (tmp_path / "key.pem").unlink()
        await listener.look()
        assert await listener.name_shown() == "one"
        certify(tmp_path, "three")
        await listener.look()
        assert await listener.name_shown() == "three"


async def test_only_tls_1_2_and_newer_is_spoken(tmp_path: Path) -> None:
    async with served(*certify(tmp_path)) as listener:
        for version, expected in ((ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")):
            _, writer = await listener.connect(minimum_version=version, maximum_version=version)
            assert writer.get_extra_info("ssl_object").version() == expected
            writer.close()
        for context in (Certificate(tmp_path / "cert.pem", tmp_path / "key.pem").context,):
            assert context.minimum_version is ssl.TLSVersion.TLSv1_2
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        # A ClientHello of TLS 1.0, as short as it may be.
        hello = bytes.fromhex("16030100330100002f0301") + bytes(32) + bytes.fromhex("000008002f0035000a00050100")
        writer.write(hello)
        async with asyncio.timeout(5):
            answer = await reader.read(100)
        assert not answer or answer[0] == 0x15, "an alert or nothing, but no handshake"
        writer.close()


async def test_plain_http_to_a_tls_listener_is_answered_by_nothing(tmp_path: Path) -> None:
    async with served(*certify(tmp_path)) as listener:
        reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        async with asyncio.timeout(5):
            assert b"hello" not in await reader.read()
        writer.close()


def test_files_that_do_not_belong_together_are_refused(tmp_path: Path) -> None:
    cert_file, key_file = certify(tmp_path)
    (tmp_path / "other").mkdir()
    _, other = certify(tmp_path / "other")
    with pytest.raises(ConfigError, match="cannot use the certificate"):
        Certificate(cert_file, other)
    with pytest.raises(ConfigError, match="cannot use the certificate"):
        Certificate(key_file, key_file)
    with pytest.raises(ConfigError, match="cannot read the certificate: No such file"):
        Certificate(tmp_path / "none.pem", key_file)
