"""New files that are made durable together: which of them can be seen, whatever fails."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from henslowe.storage import fresh as module
from henslowe.storage.fresh import FreshFiles


@pytest.fixture(params=["one by one", "at once"])
def flushed(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of what was flushed, in order; both ways to flush."""
    monkeypatch.setattr(module, "QUICK_S", 10.0 if request.param == "one by one" else 0.0)
    order: list[str] = []
    real = os.fsync

    def noted(descriptor: int) -> None:
        real(descriptor)
        order.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)

    monkeypatch.setattr(os, "fsync", noted)
    return order


def test_names_come_after_contents_and_the_last_file_after_all_names(tmp_path: Path, flushed: list[str]) -> None:
    objects, builds = tmp_path / "objects", tmp_path / "builds"
    objects.mkdir()
    builds.mkdir()
    files = FreshFiles()
    for name in "abc":
        files.write(objects / name, name.encode())
    files.write_last(builds / "manifest", b"abc")
    assert list(builds.glob("[!.]*")) == []
    files.settle()
    files.discard()
    assert sorted(flushed[:4]) == [".a.tmp", ".b.tmp", ".c.tmp", ".manifest.tmp"]
    assert flushed[4:] == ["objects", "builds"]
    assert sorted(path.name for path in objects.iterdir()) == ["a", "b", "c"]
    assert (builds / "manifest").read_bytes() == b"abc"
    assert (objects / "a").stat().st_mode & 0o777 == 0o444


@pytest.mark.parametrize("fails_at", range(6))
def test_a_flush_that_fails_leaves_no_last_file_and_no_litter(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fails_at: int
) -> None:
    calls = 0
    real = os.fsync

    def failing(descriptor: int) -> None:
        nonlocal calls
        calls += 1
        if calls == fails_at + 1:
            raise OSError(5, "Input/output error")
        real(descriptor)

    monkeypatch.setattr(module, "QUICK_S", 10.0)
    monkeypatch.setattr(os, "fsync", failing)
    objects, builds = tmp_path / "objects", tmp_path / "builds"
    objects.mkdir()
    builds.mkdir()
    files = FreshFiles()
    for name in "abc":
        files.write(objects / name, name.encode())
    files.write_last(builds / "manifest", b"abc")
    with pytest.raises(OSError, match="Input/output"):
        files.settle()
    files.discard()
    named = (builds / "manifest").exists()
    assert named is (fails_at == 5), "the name of the last file is the last thing that may fail"
    assert list(tmp_path.rglob(".*.tmp")) == []


def test_the_same_file_twice_is_written_once(tmp_path: Path) -> None:
    files = FreshFiles()
    files.write(tmp_path / "a", b"x")
    files.write(tmp_path / "a", b"x")
    files.settle()
    files.discard()
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_many_files_are_flushed_on_the_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OPEN_MAX", 10)
    descriptors: set[Any] = set()
    files = FreshFiles()
    for number in range(35):
        files.write(tmp_path / f"{number}", b"x")
        descriptors.add(len(files._open))
    files.settle()
    files.discard()
    assert max(descriptors) < 10
    assert len(list(tmp_path.iterdir())) == 35
