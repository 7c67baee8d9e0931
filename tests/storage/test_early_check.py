"""Good news about a store is believed only while it is about the store that lies there."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from henslowe.early_check import DATA, RUNNING, EarlyCheck
from henslowe.errors import Corrupt
from henslowe.storage import Store

PAGE = 4096


@pytest.fixture
def left(tmp_path: Path) -> Path:
    """A data directory whose node ended without a word."""
    store = Store.open(tmp_path, "n1")
    store.close()
    (tmp_path / RUNNING).touch()
    return tmp_path


def test_a_sound_store_is_found_sound_and_opened(left: Path) -> None:
    asked: list[bool] = []
    with EarlyCheck(left) as check:

        def found_sound(data: Path) -> bool:
            asked.append(check.found_sound(data))
            return asked[-1]

        store = Store.open(left, "n1", found_sound=found_sound)
        assert store.recovered
        store.close()
    assert asked == [True]


def test_a_store_that_was_closed_is_not_read(left: Path) -> None:
    (left / RUNNING).unlink()
    with EarlyCheck(left) as check:
        assert not check.found_sound(left / DATA)


def test_where_there_is_no_store_yet_nothing_is_found(tmp_path: Path) -> None:
    with EarlyCheck(tmp_path) as check:
        assert not check.found_sound(tmp_path / DATA)


def test_a_store_that_has_changed_since_is_not_taken_for_sound(left: Path) -> None:
    with EarlyCheck(left) as check:
        before = (left / DATA).stat()
        os.utime(left / DATA, ns=(before.st_atime_ns, before.st_mtime_ns + 1))
        assert not check.found_sound(left / DATA)


def test_another_store_than_the_one_that_was_read_is_not_taken_for_sound(left: Path, tmp_path: Path) -> None:
    with EarlyCheck(left) as check:
        assert not check.found_sound(tmp_path / "elsewhere" / DATA)


def test_a_damaged_store_is_refused_as_without_the_early_look(left: Path) -> None:
    data = left / DATA
    content = bytearray(data.read_bytes())
    for page in range(2, len(content) // PAGE):
        content[page * PAGE + 10 : page * PAGE + 12] = b"\xff\xff"  # a page's flags
    data.write_bytes(content)
    with EarlyCheck(left) as check, pytest.raises(Corrupt, match="cannot open"):
        Store.open(left, "n1", found_sound=check.found_sound)


def test_the_reader_does_not_outlive_the_look(left: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[subprocess.Popen[bytes]] = []
    popen = subprocess.Popen

    def kept(*args: object, **kwargs: object) -> subprocess.Popen[bytes]:
        started.append(popen(*args, **kwargs))  # type: ignore[call-overload]
        return started[-1]

    monkeypatch.setattr("henslowe.early_check.subprocess.Popen", kept)
    with EarlyCheck(left):
        assert len(started) == 1
    assert started[0].returncode is not None
