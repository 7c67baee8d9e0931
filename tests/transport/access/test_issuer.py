"""Tokens of an authorization server: which are taken, as whom, and how little a bad one achieves."""

from __future__ import annotations

import base64
import hashlib
import hmac
import time
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from aiohttp import web

from henslowe.config.settings import OAuthSettings
from henslowe.errors import Unauthorised, Unavailable
from henslowe.transport.access.issuer import Issuer
from henslowe.transport.access.jwks import KeySet, metadata_urls
from tests.transport.access.issuers import ALGORITHMS, IssuerServer, private_key, public_jwk


def issuer_of(server: IssuerServer, now_s: Any = time.time, **settings: Any) -> Issuer:
    return Issuer(OAuthSettings(issuer=server.url, **settings), now_s=now_s)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
async def test_a_good_token_says_who_and_what(server: IssuerServer, algorithm: str) -> None:
    issuer = issuer_of(server)
    token = server.token(algorithm, scope="mcp:hello openid", aud=["https://a.example", "https://b.example"])
    assert issuer.known(token) is None
    who = await issuer.verify(token)
    assert (who.name, who.scopes, who.claims) == ("oauth:ada", {"mcp:hello"}, {"mcp:hello", "openid"})
    assert who.audiences == {"https://a.example", "https://b.example"}
    assert issuer.known(token) is who, "the second time costs no signature"
    assert server.asked == ["/.well-known/oauth-authorization-server", "/keys"]


def from_now(seconds: float) -> Callable[[], float]:
    """A time that is told when the test runs."""
    return lambda: time.time() + seconds


@pytest.mark.parametrize(
    ("claims", "why"),
    [
        ({"exp": from_now(-3600)}, "it has expired"),
        ({"exp": None}, "it has no exp"),
        ({"nbf": from_now(3600)}, "its time has not come"),
        ({"iss": "https://other.example"}, "it is of another issuer"),
        ({"iss": None}, "it has no iss"),
        ({"aud": None}, "it has no aud"),
        ({"sub": None}, "the token names nobody"),
        ({"sub": ""}, "the token names nobody"),
        ({"typ": "JWE"}, "not an access token"),
        ({"typ": "dpop+jwt"}, "not an access token"),
        ({"typ": "id_token+jwt"}, "not an access token"),
        ({"key_id": "unknown"}, "a key that its issuer does not have"),
        ({"key_id": "RS256"}, "a key that its issuer does not have"),
        ({"key_id": None}, None),
        ({"typ": "JWT"}, None),
        ({"exp": from_now(-10)}, None),
    ],
)
async def test_each_claim_is_checked(server: IssuerServer, claims: dict[str, Any], why: str | None) -> None:
    # Collected long before it runs.
    token = server.token(**{name: value() if callable(value) else value for name, value in claims.items()})
    if why is None:
        assert (await issuer_of(server).verify(token)).name == "oauth:ada"
        return
    with pytest.raises(Unauthorised, match=why):
        await issuer_of(server).verify(token)


def forged(header: dict[str, Any], claims: dict[str, Any], key: bytes | None) -> str:
    """A token put together by hand, signed with a shared secret or not at all."""

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(orjson.dumps(value)).rstrip(b"=").decode()

    text = f"{part(header)}.{part(claims)}"
    signature = b"" if key is None else hmac.new(key, text.encode(), hashlib.sha256).digest()
    return f"{text}.{base64.urlsafe_b64encode(signature).rstrip(b'=').decode()}"


async def test_neither_no_signature_nor_the_public_key_as_a_secret_is_taken(server: IssuerServer) -> None:
    from cryptography.hazmat.primitives import serialization

    public = private_key("RS256").public_key()
    pem = public.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    server.keys.append({"kty": "oct", "kid": "shared", "k": base64.urlsafe_b64encode(b"x" * 32).decode()})
    claims = {"iss": server.url, "sub": "eve", "aud": "x", "exp": time.time() + 60}
    issuer = issuer_of(server)
    for header, key in (
        ({"alg": "none"}, None),
        ({"alg": "None", "kid": "RS256"}, None),
        ({"alg": "HS256", "kid": "RS256"}, pem),
        ({"alg": "HS256", "kid": "shared"}, b"x" * 32),
        ({"alg": "RS256", "kid": "shared"}, b"x" * 32),
        ({"alg": ["RS256"], "kid": "RS256"}, None),
        ({"kid": "RS256"}, None),
    ):
        with pytest.raises(Unauthorised):
            await issuer.verify(forged(header, claims, key))


async def test_a_token_signed_by_somebody_else_is_refused_though_it_names_our_key(server: IssuerServer) -> None:
    for algorithm in ALGORITHMS:
        with pytest.raises(Unauthorised, match="its signature does not match"):
            await issuer_of(server).verify(server.token(algorithm, number=2))


async def test_keys_that_a_token_brings_along_mean_nothing(server: IssuerServer) -> None:
    import jwt as pyjwt

    claims = {"iss": server.url, "sub": "eve", "aud": "x", "exp": time.time() + 60}
    for extra in (
        {"jwk": public_jwk("ES256", "mine", 2)},
        {"jku": f"{server.url}/evil"},
        {"x5u": f"{server.url}/evil"},
    ):
        token = pyjwt.encode(claims, private_key("ES256", 2), "ES256", headers={"kid": "ES256", **extra})
        with pytest.raises(Unauthorised):
            await issuer_of(server).verify(token)
    assert "/evil" not in server.asked


@pytest.mark.parametrize(
    "token", ["..", "a.b.c", "x", "a" * 5000, "e30.e30.", "\udcff.\udcff.\udcff", "eyJhbGciOiJFUzI1NiJ9.e30.AA"]
)
async def test_rubbish_is_refused_in_words(server: IssuerServer, token: str) -> None:
    with pytest.raises(Unauthorised):
        await issuer_of(server).verify(token)


async def test_only_configured_algorithms_are_taken(server: IssuerServer) -> None:
    issuer = issuer_of(server, algorithms=("EdDSA",))
    await issuer.verify(server.token("EdDSA"))
    with pytest.raises(Unauthorised, match="algorithm"):
        await issuer.verify(server.token("RS256"))


@pytest.mark.parametrize("claim", [{"scope": None, "scp": ["files.read"]}, {"scope": "files.read other"}])
async def test_the_issuers_scopes_are_mapped_to_ours(server: IssuerServer, claim: dict[str, Any]) -> None:
    issuer = issuer_of(server, scope_map={"files.read": ("mcp:files",), "ops": ("admin:read",)})
    who = await issuer.verify(server.token(**claim))
    assert (who.scopes, "files.read" in who.claims) == ({"mcp:files"}, True)
    assert (await issuer.verify(server.token(scope="ops"))).scopes == {"admin:read"}


async def test_an_issuer_cannot_make_administrators_unless_it_is_told_to(server: IssuerServer) -> None:
    who = await issuer_of(server).verify(server.token(scope="admin admin:write mcp:x"))
    assert who.scopes == {"mcp:x"}


async def test_scopes_may_be_granted_to_everybody(server: IssuerServer) -> None:
    who = await issuer_of(server, scopes_granted=("mcp",)).verify(server.token(scope=None))
    assert (who.scopes, who.claims) == ({"mcp"}, frozenset())


@pytest.mark.parametrize("subject", ["a b", "x\n2026 ERROR forged", "\x1b[2J", "ü" * 10, "a" * 129])
async def test_a_subject_that_logs_should_not_have_becomes_a_digest(server: IssuerServer, subject: str) -> None:
    name = (await issuer_of(server).verify(server.token(sub=subject))).name
    assert name == "oauth:sha256-" + hashlib.sha256(subject.encode()).hexdigest()[:32]


async def test_a_known_token_ends_with_its_time(server: IssuerServer) -> None:
    now = [time.time()]
    issuer = issuer_of(server, now_s=lambda: now[0], leeway_s=5)
    token = server.token(exp=now[0] + 60)
    await issuer.verify(token)
    now[0] += 64
    assert issuer.known(token) is not None
    now[0] += 1
    assert issuer.known(token) is None


# -- keys ----------------


async def test_a_new_key_is_fetched_once_however_many_tokens_name_it(server: IssuerServer) -> None:
    now = [1_000.0]
    keys = KeySet(server.url, f"{server.url}/keys", clock=lambda: now[0])
    assert await keys.key("ES256", "ES256") is not None
    for number in range(50):
        assert await keys.key(f"guess-{number}", "ES256") is None
    assert len(server.asked) == 1, "a miss within the interval asks nobody"
    server.keys.append(public_jwk("ES256", "new", 2))
    now[0] += 30
    assert await keys.key("new", "ES256") is not None
    assert len(server.asked) == 2


async def test_keys_stay_good_for_a_day_while_the_issuer_is_away(server: IssuerServer) -> None:
    now = [100_000.0]
    keys = KeySet(server.url, f"{server.url}/keys", clock=lambda: now[0])
    assert await keys.key("ES256", "ES256") is not None
    server.broken = lambda: web.Response(status=500)
    now[0] += 3_600
    assert await keys.key("ES256", "ES256") is not None
    now[0] += 24 * 3_600
    with pytest.raises(Unavailable, match="status 500"):
        await keys.key("ES256", "ES256")
    with pytest.raises(Unavailable):
        await keys.key("ES256", "ES256")
    assert len(server.asked) == 3, "a failure is not repeated at once"


@pytest.mark.parametrize(
    ("broken", "why"),
    [
        (lambda: web.Response(status=302, headers={"Location": "/keys"}), "status 302"),
        (lambda: web.Response(body=b'{"keys": [' + b" " * 600_000 + b"]}"), "longer than"),
        (lambda: web.Response(text="no"), "not JSON"),
        (lambda: web.json_response([1]), "expected an object"),
        (lambda: web.json_response({"keys": {}}), "expected a list"),
        (lambda: web.json_response({"keys": [{}] * 101}), "expected a list of at most"),
    ],
)
async def test_a_key_set_that_is_not_one_is_refused(server: IssuerServer, broken: Any, why: str) -> None:
    server.broken = broken
    with pytest.raises(Unavailable, match=why):
        await KeySet(server.url, f"{server.url}/keys").key("ES256", "ES256")


async def test_keys_for_other_uses_and_short_ones_are_passed_over(server: IssuerServer) -> None:
    import jwt as pyjwt
    from cryptography.hazmat.primitives.asymmetric import rsa

    short = rsa.generate_private_key(65537, 1024).public_key()
    server.keys = [
        public_jwk("ES256", "enc", use="enc"),
        public_jwk("ES256", "other", alg="ES384"),
        {**orjson.loads(pyjwt.get_algorithm_by_name("RS256").to_jwk(short)), "kid": "short"},
        {"kty": "RSA", "kid": "half"},
    ]
    keys = KeySet(server.url, f"{server.url}/keys")
    for key_id, algorithm in (("enc", "ES256"), ("other", "ES256"), ("short", "RS256"), ("half", "RS256")):
        assert await keys.key(key_id, algorithm) is None


async def test_metadata_about_another_issuer_is_not_believed(server: IssuerServer) -> None:
    server.metadata = {"issuer": "https://other.example"}
    with pytest.raises(Unavailable, match="is not about"):
        await issuer_of(server).verify(server.token())


def test_metadata_is_looked_for_where_the_specifications_say() -> None:
    assert metadata_urls("https://a.example") == (
        "https://a.example/.well-known/oauth-authorization-server",
        "https://a.example/.well-known/openid-configuration",
    )
    assert metadata_urls("https://a.example/t1/") == (
        "https://a.example/.well-known/oauth-authorization-server/t1",
        "https://a.example/.well-known/openid-configuration/t1",
        "https://a.example/t1/.well-known/openid-configuration",
    )


# -- opaque tokens ----------------


async def test_an_opaque_token_is_asked_about_and_believed_for_a_minute(server: IssuerServer) -> None:
    now = [time.time()]
    url = f"{server.url}/introspect"
    issuer = issuer_of(
        server, now_s=lambda: now[0], introspection_url=url, introspection_authorization="Basic bm9kZTp4"
    )
    server.active["opaque"] = {"active": True, "sub": "ada", "scope": "mcp:hello", "aud": "https://a.example"}
    who = await issuer.verify("opaque")
    assert (who.name, who.scopes, who.audiences) == ("oauth:ada", {"mcp:hello"}, {"https://a.example"})
    assert server.credentials == ["Basic bm9kZTp4"]
    server.active.clear()
    now[0] += 59
    assert issuer.known("opaque") is who
    now[0] += 1
    assert issuer.known("opaque") is None
    with pytest.raises(Unauthorised, match="does not know it"):
        await issuer.verify("opaque")


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"active": False},
        {"active": "true", "sub": "x"},
        {"active": True},
        {"active": True, "sub": "x", "iss": "https://other.example"},
        {"active": True, "sub": "x", "exp": 1_000},
        {"active": True, "sub": "x", "aud": [1]},
    ],
)
async def test_what_introspection_does_not_vouch_for_is_refused(server: IssuerServer, said: dict[str, Any]) -> None:
    server.active["opaque"] = said
    with pytest.raises(Unauthorised):
        await issuer_of(server, introspection_url=f"{server.url}/introspect").verify("opaque")
    with pytest.raises(Unauthorised, match="neither one of this node"):
        await issuer_of(server).verify("opaque")


async def test_a_secret_for_introspection_is_resolved_when_it_is_sent(server: IssuerServer) -> None:
    settings = OAuthSettings(
        issuer=server.url,
        introspection_url=f"{server.url}/introspect",
        introspection_authorization="Basic secret:login",
    )
    issuer = Issuer(
        settings, secrets=lambda headers: {k: v.replace("secret:login", "cw==") for k, v in headers.items()}
    )
    server.active["opaque"] = {"active": True, "sub": "ada"}
    await issuer.verify("opaque")
    assert server.credentials == ["Basic cw=="]
