"""`henslowe secrets` and `henslowe storage migrate`, beside a node and without one."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from henslowe import node_tables
from henslowe.storage.nodelock import NodeLock
from tests.cli.conftest import Henslowe
from tests.storage.faults import Faults
from tests.storage.migrating import new_spec, old, old_spec
from tests.storage.stores import running
from tests.transport.admin.background import Background

VALUE = "s3cr3t-of-ada"
ROWS = 120


@pytest.fixture(autouse=True)
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.delenv("CREDENTIALS_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    return tmp_path / "config"


@pytest.fixture
def people(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data directory with a table that this Henslowe has a migration for."""
    data = workspace / ".henslowe"

    async def fill() -> None:
        async with running(data, Faults()) as store:
            await store.table(old_spec()).insert(*(old(number) for number in range(ROWS)))

    asyncio.run(fill())
    monkeypatch.setattr(node_tables, "TABLES", (*node_tables.TABLES, new_spec()))
    return data


def test_a_secret_is_set_listed_and_removed_without_a_node(henslowe: Henslowe, keys: Path) -> None:
    run = henslowe("secrets", "set", "token", "--from-file", "-", stdin=VALUE + "\n")
    assert run.exit_code == 0
    assert str(keys) in run.out
    (listed,) = henslowe("secrets", "list", "--json").json["secrets"]
    assert listed["name"] == "token"
    assert "is changed" in henslowe("secrets", "set", "token", "--from-file", "-", stdin="other").out
    assert henslowe("secrets", "status").out.count("default") == 1
    before = henslowe("secrets", "status", "--json").json["keys"]
    rotated = henslowe("secrets", "rotate", "--json").json
    assert (len(rotated["keys"]), rotated["rotating"]) == (1, False)
    assert rotated["keys"] != before
    assert henslowe("secrets", "remove", "token").exit_code == 0
    run = henslowe("secrets", "remove", "token")
    assert (run.exit_code, "cannot find secret 'token'" in run.err) == (2, True)


def test_a_secret_is_set_in_a_running_node(node: Background, henslowe: Henslowe) -> None:
    run = henslowe("secrets", "set", "token", "--from-file", "-", "--json", stdin=VALUE)
    assert (run.exit_code, run.json["name"]) == (0, "token")
    assert VALUE not in run.out + run.err
    assert [each["name"] for each in henslowe("secrets", "list", "--json").json["secrets"]] == ["token"]
    assert henslowe("secrets", "rotate").exit_code == 0


def test_a_value_is_never_taken_from_the_command_line_nor_from_nowhere(henslowe: Henslowe, tmp_path: Path) -> None:
    assert henslowe("secrets", "set", "token", VALUE).exit_code == 2
    run = henslowe("secrets", "set", "token", stdin=VALUE)
    assert (run.exit_code, "expected a terminal to ask at" in run.err) == (2, True)
    binary = tmp_path / "binary"
    binary.write_bytes(b"\xff\xfe")
    for content, said in ((b"\n", "got: nothing"), (b"x" * 40_000, "got: more"), (b"\xff", "UTF-8")):
        binary.write_bytes(content)
        run = henslowe("secrets", "set", "token", "--from-file", str(binary))
        assert (run.exit_code, said in run.err) == (2, True)
    assert henslowe("secrets", "set", "a/b", "--from-file", str(binary)).exit_code == 2


def test_a_plan_says_what_would_happen_and_changes_nothing(people: Path, henslowe: Henslowe) -> None:
    before = (people / "core" / "data.mdb").read_bytes()
    (planned,) = henslowe("storage", "migrate", "--plan", "--json").json["planned"]
    assert (planned["table"], planned["rows"], planned["from_schema"], planned["to_schema"]) == ("people", ROWS, 1, 2)
    lines = henslowe("storage", "migrate", "--plan").out
    assert "expand backfill verify flip drop" in lines
    assert "1 waiting" in henslowe("storage", "migrate", "--status").out
    assert (people / "core" / "data.mdb").read_bytes() == before


def test_a_table_is_migrated_and_taken_back_without_a_node(people: Path, henslowe: Henslowe) -> None:
    assert henslowe("storage", "migrate", "people", "--to", "verify").exit_code == 0
    (row,) = henslowe("storage", "migrate", "--status", "--json").json["migrations"]
    assert (row["phase"], row["running"]) == ("verify", True)
    assert henslowe("storage", "migrate", "people", "--rollback").exit_code == 0
    run = henslowe("storage", "migrate", "--to", "drop", "--json")
    (row,) = run.json["migrations"]
    assert (row["phase"], row["running"]) == ("drop", False)
    assert "no table needs a migration" in henslowe("storage", "migrate", "--plan").out
    assert len(henslowe("storage", "dump", "people").json_lines) == ROWS


def test_what_makes_no_sense_is_refused(people: Path, henslowe: Henslowe, tmp_path: Path) -> None:
    for words, said in (
        (("--plan", "--rollback"), "expected one of"),
        (("--rollback",), "expected the table to roll back"),
        (("nobody",), "cannot find table 'nobody'"),
        (("people", "--rollback"), "never migrated"),
        (("--to", "sideways"), "sideways"),
    ):
        run = henslowe("storage", "migrate", *words)
        assert (run.exit_code, said in run.err) == (2, True), run
    run = henslowe("storage", "migrate", "--data", str(tmp_path / "nothing"))
    assert (run.exit_code, "cannot find a store" in run.err) == (2, True)
    assert not (tmp_path / "nothing").exists()


def test_a_data_directory_in_other_hands_is_left_alone(people: Path, henslowe: Henslowe) -> None:
    lock = NodeLock.acquire(people)
    try:
        run = henslowe("storage", "migrate")
        assert run.exit_code == 1
        assert "a node is running on it" in run.err
    finally:
        lock.release()
