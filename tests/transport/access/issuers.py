"""An authorization server on loopback: real keys, real JSON Web Tokens, and misbehaviour on request."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from functools import cache
from typing import Any

import jwt
import orjson
from aiohttp import web
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

ALGORITHMS = {"RS256": "RSA", "ES256": "EC", "EdDSA": "OKP"}


@cache
def private_key(algorithm: str, number: int = 1) -> Any:
    """A key pair for tests; `number` tells keys of one algorithm apart."""
    assert number
    if algorithm.startswith("RS"):
        return rsa.generate_private_key(65537, 2048)
    return ec.generate_private_key(ec.SECP256R1()) if algorithm == "ES256" else ed25519.Ed25519PrivateKey.generate()


def public_jwk(algorithm: str, key_id: str, number: int = 1, **more: Any) -> dict[str, Any]:
    """The public half as a key set has it."""
    public = private_key(algorithm, number).public_key()
    data = orjson.loads(jwt.get_algorithm_by_name(algorithm).to_jwk(public))
    return {**data, "kid": key_id, "use": "sig", **more}


@dataclass
class IssuerServer:
    """What the tests hold on to."""

    url: str = ""
    keys: list[dict[str, Any]] = field(default_factory=lambda: [public_jwk(each, each) for each in ALGORITHMS])
    asked: list[str] = field(default_factory=list)
    """Paths, in order."""
    metadata: dict[str, Any] = field(default_factory=dict)
    """Over what the metadata says by itself."""
    active: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Opaque tokens and what introspection says of them."""
    credentials: list[str | None] = field(default_factory=list)
    broken: web.StreamResponse | Any = None
    """A response instead of the key set's own."""

    def token(
        self, algorithm: str = "ES256", *, key_id: Any = "", number: int = 1, typ: Any = "", **claims: Any
    ) -> str:
        """A signed token; a claim of None is left out."""
        now_s = time.time()
        said = {
            "iss": self.url,
            "sub": "ada",
            "aud": "http://127.0.0.1/mcp",
            "exp": now_s + 600,
            "scope": "mcp",
            **claims,
        }
        headers = {"kid": algorithm if key_id == "" else key_id, "typ": typ or "at+jwt"}
        return jwt.encode(
            {name: value for name, value in said.items() if value is not None},
            private_key(algorithm, number),
            algorithm,
            headers={name: value for name, value in headers.items() if value is not None},
        )

    def made(self) -> web.Application:
        """Its routes."""
        app = web.Application()
        app.router.add_get("/.well-known/oauth-authorization-server", self._metadata)
        app.router.add_get("/keys", self._keys)
        app.router.add_post("/introspect", self._introspect)
        return app

    async def _metadata(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        return web.json_response({"issuer": self.url, "jwks_uri": f"{self.url}/keys", **self.metadata})

    async def _keys(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        return self.broken() if self.broken is not None else web.json_response({"keys": self.keys})

    async def _introspect(self, request: web.Request) -> web.StreamResponse:
        self.asked.append(request.path)
        self.credentials.append(request.headers.get("Authorization"))
        form = await request.post()
        return web.json_response(self.active.get(str(form["token"]), {"active": False}))


@contextlib.asynccontextmanager
async def issuer_server() -> AsyncIterator[IssuerServer]:
    """An authorization server for one test."""
    server = IssuerServer()
    runner = web.AppRunner(server.made(), access_log=None, shutdown_timeout=1.0)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
        await asyncio.sleep(0)
