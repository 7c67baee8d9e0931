"""What settings of access may not be together."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from henslowe.config.loading import Override, load
from henslowe.errors import ConfigError, ListenRefused


def loaded(workspace: Path, **values: str) -> Any:
    overrides = [Override(key.replace("__", "."), value, f"--{key}") for key, value in values.items()]
    return load(workspace, overrides=overrides, environ={}).settings


REMOTE = {"listen": "0.0.0.0:8400", "allow_remote": "true"}
OAUTH = {"access__mode": "oauth", "access__oauth__issuer": "https://login.example"}


@pytest.mark.parametrize(
    ("values", "key"),
    [
        ({"access__mode": "oauth"}, "access.oauth.issuer"),
        ({**OAUTH, "access__oauth__issuer": "http://login.example"}, "access.oauth.issuer"),
        ({**OAUTH, "access__oauth__issuer": "https://login.example?x=1"}, "access.oauth.issuer"),
        ({**OAUTH, "access__oauth__jwks_url": "file:///etc/passwd"}, "access.oauth.jwks_url"),
        ({**OAUTH, "access__oauth__introspection_url": "http://10.0.0.1/"}, "access.oauth.introspection_url"),
        ({**OAUTH, "access__oauth__algorithms": ""}, "access.oauth.algorithms"),
        ({**OAUTH, **REMOTE}, "access.public_url"),
        ({"access__public_url": "mcp.example"}, "access.public_url"),
        ({"tls__cert_file": "c.pem"}, "tls.key_file"),
        ({"tls__key_file": "k.pem"}, "tls.cert_file"),
    ],
)
def test_what_contradicts_itself_is_refused_by_its_key(tmp_path: Path, values: dict[str, str], key: str) -> None:
    with pytest.raises(ConfigError) as caught:
        loaded(tmp_path, **values)
    assert caught.value.message.startswith(f"{key}: expected ")
    assert caught.value.hint


@pytest.mark.parametrize(
    "values",
    [
        OAUTH,
        {**OAUTH, "access__oauth__issuer": "http://127.0.0.1:9000/tenant"},
        {**OAUTH, **REMOTE, "access__public_url": "https://mcp.example"},
        {"access__mode": "token"},
        {"tls__cert_file": "c.pem", "tls__key_file": "k.pem"},
    ],
)
def test_what_fits_together_is_taken(tmp_path: Path, values: dict[str, str]) -> None:
    assert loaded(tmp_path, **values).access.mode in ("auto", "token", "oauth")


@pytest.mark.parametrize("algorithm", ["none", "HS256", "HS512"])
def test_no_algorithm_without_a_public_key_can_be_configured(tmp_path: Path, algorithm: str) -> None:
    with pytest.raises(ConfigError, match="algorithms"):
        loaded(tmp_path, **OAUTH, access__oauth__algorithms=algorithm)


@pytest.mark.parametrize("mode", ["none", "token", "oauth"])
def test_a_mode_that_was_chosen_permits_a_remote_listener(tmp_path: Path, mode: str) -> None:
    more = {**OAUTH, "access__public_url": "https://mcp.example"} if mode == "oauth" else {}
    assert loaded(tmp_path, **{**more, **REMOTE, "access__mode": mode}).access.mode == mode


def test_without_a_mode_or_a_token_file_a_remote_listener_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ListenRefused, match=r"admin\.token_file is not set"):
        loaded(tmp_path, **REMOTE)
    with pytest.raises(ListenRefused, match="allow_remote is not set"):
        loaded(tmp_path, listen="0.0.0.0:8400", access__mode="none")
