"""How configuration refers to secrets."""

from pathlib import Path

import pytest

from henslowe.config.loading import load
from henslowe.config.manifest import read_manifest
from henslowe.config.references import REFERENCE
from henslowe.errors import ConfigError, ManifestError


def test_both_ways_to_write_a_reference_mean_the_same(tmp_path: Path) -> None:
    (tmp_path / "henslowe.toml").write_text(
        '[services.far]\nurl = "https://far/mcp"\n'
        'headers = { Authorization = "Bearer secret:far-token", "X-Key" = { secret = "key.1" } }\n'
        'env = { A = { secret = "a" }, B = "plain", C = "not a secret: at all" }\n'
    )
    far = load(tmp_path, environ={"HENSLOWE_SERVICES__far__ENV__D": "secret:d"}).settings.services["far"]
    assert far.headers == {"Authorization": "Bearer secret:far-token", "X-Key": "secret:key.1"}
    assert far.env == {"A": "secret:a", "B": "plain", "C": "not a secret: at all", "D": "secret:d"}


@pytest.mark.parametrize("value", ['"secret:"', '"secret:a b"', "{ secret = 7 }", '{ secret = "a", more = "b" }', "7"])
def test_what_is_no_reference_is_refused_with_its_place(tmp_path: Path, value: str) -> None:
    (tmp_path / "henslowe.toml").write_text(f'[services.far]\nurl = "https://far/mcp"\nenv = {{ A = {value} }}\n')
    with pytest.raises(ConfigError, match=r"services\.far\.env\.A"):
        load(tmp_path, environ={})
    (tmp_path / "server.py").touch()
    (tmp_path / "service.toml").write_text(f"[launch]\nenv = {{ A = {value} }}\n")
    with pytest.raises(ManifestError, match=r"launch\.env\.A"):
        read_manifest(tmp_path, tmp_path.name)


def test_a_manifest_refers_to_secrets_too(tmp_path: Path) -> None:
    (tmp_path / "server.py").touch()
    (tmp_path / "service.toml").write_text('[launch]\nenv = { A = { secret = "a" }, B = "secret:b" }\n')
    launch = read_manifest(tmp_path, tmp_path.name).launch
    assert {name: launch.env[name] for name in ("A", "B")} == {"A": "secret:a", "B": "secret:b"}


@pytest.mark.parametrize("text", ["secret:a", "Bearer secret:a.b-c_1", "Basic secret:A"])
def test_a_reference_stands_alone_or_behind_one_word(text: str) -> None:
    assert REFERENCE.fullmatch(text)


@pytest.mark.parametrize("text", ["a b secret:c", "secret:-a", "xsecret:a", "secret:a ", "Secret:a"])
def test_anything_else_is_a_plain_text(text: str) -> None:
    assert not REFERENCE.fullmatch(text)
