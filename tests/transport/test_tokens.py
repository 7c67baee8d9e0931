from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from henslowe.errors import ConfigError
from henslowe.transport.tokens import ensure_token, read_token


def test_a_new_token_file_is_closed_to_others_and_keeps_its_token(tmp_path: Path) -> None:
    path = tmp_path / "data" / "admin.token"
    token = ensure_token(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert ensure_token(path) == token
    assert [p.name for p in path.parent.iterdir()] == ["admin.token"]


def test_two_starters_end_with_the_same_token(tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        tokens = set(pool.map(ensure_token, [tmp_path / "admin.token"] * 16))
    assert len(tokens) == 1


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644])
def test_a_token_file_open_to_others_is_refused_with_the_command_that_closes_it(tmp_path: Path, mode: int) -> None:
    path = tmp_path / "t"
    path.write_text("x" * 40)
    path.chmod(mode)
    with pytest.raises(ConfigError) as caught:
        read_token(path)
    assert "chmod 600" in caught.value.hint


@pytest.mark.parametrize("content", ["", "short", "two words here and there", "ümlaute" * 5])
def test_a_token_that_is_not_one_is_refused(tmp_path: Path, content: str) -> None:
    path = tmp_path / "t"
    path.write_text(content)
    path.chmod(0o600)
    with pytest.raises(ConfigError, match="printable ASCII"):
        read_token(path)


def test_a_missing_token_file_is_told_apart(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        read_token(tmp_path / "none")
