"""Which hooks are due, from rows and events alone; and the signature that receivers check."""

from __future__ import annotations

import base64
import hashlib
import hmac
from typing import Any

import pytest

from henslowe.actors.hooks.plan import points_of
from henslowe.actors.hooks.signing import headers_of
from henslowe.actors.ids import ServiceName
from henslowe.actors.versions.change import State
from henslowe.actors.versions.gates import gates_of
from henslowe.actors.versions.rows import ServiceRow, VersionRow, VersionState
from henslowe.config.manifest import read_manifest
from henslowe.errors import ConfigError, ManifestError
from henslowe.extensions.trying import event

HELLO = ServiceName("hello")
STAGED, CANARY, ACTIVE = VersionState.STAGED, VersionState.CANARY, VersionState.ACTIVE


def state(before: VersionState, weight: int = 0, **fields: Any) -> State:
    """Version 2 in a state, with its place in the service's row."""
    place = {CANARY: {"canary": 2}, ACTIVE: {"active": 2}, STAGED: {"staged": 2}}.get(before, {})
    service = ServiceRow(service=HELLO, epoch=7, canary_weight=weight, **place)
    return State(service, {2: VersionRow(service=HELLO, number=2, state=before, **fields)})


@pytest.mark.parametrize(
    ("before", "after", "points"),
    [
        (state(STAGED), state(CANARY), ["deploy:start"]),
        (state(STAGED), state(ACTIVE), ["deploy:start", "promote:before"]),
        (state(CANARY), state(ACTIVE), ["promote:before"]),
        (state(CANARY, 100), state(CANARY, 500), ["step"]),
        (state(CANARY, 500), state(CANARY, 100), []),
        (state(CANARY), state(VersionState.ROLLED_BACK), []),
        (state(VersionState.ARCHIVED), state(ACTIVE), []),
        (state(VersionState.ROLLED_BACK), state(ACTIVE), []),
        (state(STAGED, restart_of=1), state(ACTIVE, restart_of=1), []),
        (State(), state(STAGED), []),
    ],
)
def test_the_gates_between_two_states(before: State, after: State, points: list[str]) -> None:
    gates = gates_of(before, after)
    assert [gate.point.value for gate in gates] == points
    assert all((gate.version.number, gate.epoch) == (2, 7) for gate in gates)


@pytest.mark.parametrize(
    ("said", "points"),
    [
        (("VERSION_CREATED", "PENDING", {"row": {"state": "DEVELOPMENT"}}), ["build:start"]),
        (("VERSION_CREATED", "PENDING", {"row": {"state": "STAGED"}}), []),
        (("VERSION_STAGED", "SUCCESS", {"row": {"build": "b"}}), ["build:end"]),
        (("VERSION_STAGED", "SUCCESS", {"row": {"build": "b", "restart_of": 1}}), []),
        (("CANARY_DEPLOY", "SUCCESS", {}), ["canary:start"]),
        (("PROMOTE", "SUCCESS", {"by": "auto"}), ["promote:after"]),
        (("DEPLOY_COMPLETE", "SUCCESS", {"by": "auto"}), ["promote:after"]),
        (("DEPLOY_COMPLETE", "SUCCESS", {"why": "hello@2 was taken back"}), []),
        (("ROLLBACK", "SUCCESS", {}), ["rollback:after"]),
        (("ROLLBACK", "PENDING", {}), []),
        (("ROLLBACK", "FAILED", {}), []),
        (("PROBATION_PASSED", "SUCCESS", {}), ["permanent"]),
        (("VERSION_FAILED", "FAILED", {}), ["failed"]),
        (("A_WORD_OF_A_NEWER_NODE", "SUCCESS", {}), []),
    ],
)
def test_the_moments_that_events_tell_of(said: tuple[str, str, dict[str, Any]], points: list[str]) -> None:
    event_type, status, data = said
    found = points_of(_with(event_type, status, data))
    assert [point.value for point in found] == [*points, "event"]


def _with(event_type: str, status: str, data: dict[str, Any]) -> Any:
    made = event(1, event_type, **data)
    return type(made)(**{field: getattr(made, field) for field in made.__slots__} | {"status": status})


def test_an_event_of_the_node_is_no_hooks_business() -> None:
    assert points_of(event(1, "NODE_START", service="")) == ()


@pytest.mark.parametrize(
    ("secret", "key"), [("plain", b"plain"), ("whsec_" + base64.b64encode(b"\x00\xff raw").decode(), b"\x00\xff raw")]
)
def test_a_signature_is_that_of_standard_webhooks(secret: str, key: bytes) -> None:
    headers = headers_of("msg_1", b'{"a":1}', 1_700_000_000.9, secret)
    expected = base64.b64encode(hmac.new(key, b'msg_1.1700000000.{"a":1}', hashlib.sha256).digest()).decode()
    assert headers["webhook-signature"] == f"v1,{expected}"
    assert (headers["webhook-id"], headers["webhook-timestamp"]) == ("msg_1", "1700000000")
    assert headers["Idempotency-Key"] == "msg_1"


def test_without_a_secret_nothing_is_signed_and_a_broken_one_is_an_error() -> None:
    assert "webhook-signature" not in headers_of("1", b"", 0.0, "")
    with pytest.raises(ConfigError, match="expected base64 behind whsec_"):
        headers_of("1", b"", 0.0, "whsec_?")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ('[[hooks]]\non = "promote"\ncommand = "x"', "hooks.0.on: expected 'build:start', 'build:end', 'deploy:start'"),
        ('[[hooks]]\non = "failed"', "expected a command or a url, got neither"),
        ('[[hooks]]\non = "failed"\ncommand = "x"\nurl = "http://x"', "expected a command or a url, got both"),
        ('[[hooks]]\non = "failed"\nurl = "file:///x"', "expected an http or https address"),
        ('[[hooks]]\non = "failed"\nurl = "http://a:b@x"', "expected an address without a password"),
        ('[[hooks]]\non = "failed"\nurl = "http://x"\nsecret = "hunter2"', "expected secret:NAME"),
        ('[[hooks]]\non = "failed"\ncommand = "x"\nsecret = "secret:a"', "expected a secret only beside a url"),
        ('[[hooks]]\non = "failed"\nurll = "http://x"', "did you mean 'url'?"),
        (
            '[[hooks]]\non = "failed"\nname = "a"\ncommand = "x"\n' * 2,
            "expected hooks of different names, got 'a' twice",
        ),
    ],
)
def test_a_hook_that_cannot_be_meant_is_refused_with_its_key(tmp_path: Any, text: str, why: str) -> None:
    (tmp_path / "server.py").write_text("")
    (tmp_path / "service.toml").write_text(text)
    with pytest.raises(ManifestError) as caught:
        read_manifest(tmp_path, "hello")
    assert why in caught.value.message
