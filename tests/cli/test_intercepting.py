"""A restore asks the interceptors that are installed, though no node runs."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

import pytest

from henslowe.actors.interceptors import Kind, Operation
from henslowe.cli import intercepting
from henslowe.errors import Conflict

RESTORE = Operation(Kind.RESTORE, facts={"backup": "b", "target": "t"})


def install(monkeypatch: pytest.MonkeyPatch, value: str) -> None:
    def entry_points(group: str) -> list[EntryPoint]:
        return [EntryPoint("guard", f"tests.extensions.bringing:{value}", group)]

    monkeypatch.setattr(intercepting, "entry_points", entry_points)


def test_one_that_refuses_stops_it_before_anything_is_done(tmp_path: Path, monkeypatch: Any) -> None:
    install(monkeypatch, "Guard")
    done = False
    with (
        pytest.raises(Conflict, match="interceptor 'guard': no restore"),
        intercepting.intercepted(RESTORE, tmp_path / "data"),
    ):
        done = True
    assert not done
    assert not (tmp_path / "data").exists()


def test_one_that_cannot_be_loaded_stops_it_until_it_is_disabled(tmp_path: Path, monkeypatch: Any) -> None:
    install(monkeypatch, "exits")
    with pytest.raises(Conflict, match="SystemExit"), intercepting.intercepted(RESTORE, tmp_path / "data"):
        pass
    (tmp_path / "henslowe.toml").write_text('[modules]\ndisabled = ["guard"]\n')
    with intercepting.intercepted(RESTORE, tmp_path / "data") as wrong:
        pass
    assert wrong == []


def test_what_goes_wrong_afterwards_is_told(tmp_path: Path, monkeypatch: Any) -> None:
    install(monkeypatch, "Mourner")
    with intercepting.intercepted(RESTORE, tmp_path / "data") as wrong:
        pass
    assert wrong == ["interceptor 'mourner': too late"]
