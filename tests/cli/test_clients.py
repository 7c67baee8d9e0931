"""One entry in a client's own configuration: everything else stays, and what cannot be read is left alone."""

import asyncio
import json
import threading
import tomllib
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from ruamel.yaml import YAML

from henslowe.cli.app import cli
from henslowe.cli.clients import CLIENTS, Edit, change_file, client_of, edited, entries, jsonc
from henslowe.errors import ConfigError, HensloweError
from tests.transport.admin.small_node import serve

URL = "http://127.0.0.1:8400/mcp"
COMMENTED = """{
  // the servers of this machine
  "servers": {
    "other": { "type": "http", "url": "http://x/y" }, /* keep me, too */
  },
  "inputs": [],
}
"""


@pytest.mark.parametrize("client", CLIENTS, ids=lambda client: client.id)
def test_an_entry_is_put_changed_and_taken_out_again(client: object) -> None:
    assert isinstance(client, type(CLIENTS[0]))
    first, second = client.entry("h", URL, {}), client.entry("h", URL, {"Authorization": "Bearer x"})
    text = edited(client, "", Edit("h", first))
    assert entries(client, text) == {"h": first}
    text = edited(client, text, Edit("h", second))
    text = edited(client, text, Edit("i", first))
    assert entries(client, text) == {"h": second, "i": first}
    text = edited(client, text, Edit("h", None))
    assert entries(client, edited(client, text, Edit("i", None))) == {}


def test_comments_and_last_commas_of_json_stay() -> None:
    vscode = client_of("vscode")
    text = edited(vscode, COMMENTED, Edit("henslowe", {"url": URL}))
    assert text.replace('\n    "henslowe": {\n      "url": "http://127.0.0.1:8400/mcp"\n    }', "") == COMMENTED
    without = edited(vscode, text, Edit("henslowe", None))
    assert jsonc.parse(without) == jsonc.parse(COMMENTED)
    assert "// the servers of this machine" in without
    assert "/* keep me, too */" in without


@pytest.mark.parametrize("comma", [",", ""])
@pytest.mark.parametrize("comment", ["// of other", "/* of other */", "/* a */ // b"])
def test_a_comment_stays_beside_what_it_is_about(comma: str, comment: str) -> None:
    text = f'{{\n  "servers": {{\n    "other": {{}}{comma} {comment}\n  }}\n}}\n'
    added = edited(client_of("vscode"), text, Edit("henslowe", {}))
    assert added == f'{{\n  "servers": {{\n    "other": {{}}, {comment}\n    "henslowe": {{}}\n  }}\n}}\n'
    assert edited(client_of("vscode"), added, Edit("henslowe", None)) == text.replace("{},", "{}")


@pytest.mark.parametrize(
    "text",
    [
        '{"servers": {"a": 1, // of a\n"henslowe": 2}}',
        '{"servers": {"a": 1 /* of a */, "henslowe": 2, // of it\n}}',
        '{"servers": {"henslowe": 2, // of a\n"a": 1}}',
        '{"servers": {"henslowe": 2 /* of it */,\n// of a\n"a": 1}}',
    ],
)
def test_comments_around_an_entry_outlive_it(text: str) -> None:
    without = edited(client_of("vscode"), text, Edit("henslowe", None))
    assert jsonc.parse(without) == {"servers": {"a": 1}}
    assert "of a" in without


def test_comments_of_toml_and_yaml_stay() -> None:
    toml = '# mine\nmodel = "x"\n\n[mcp_servers.other] # keep\nurl = "u"\n'
    text = edited(client_of("codex"), toml, Edit("henslowe", {"url": URL}))
    assert "# mine" in text
    assert "# keep" in text
    assert tomllib.loads(text)["mcp_servers"] == {"other": {"url": "u"}, "henslowe": {"url": URL}}
    yaml = "# mine\nextensions:\n  other:  # keep\n    type: 'builtin'\nmodel: x\n"
    text = edited(client_of("goose"), yaml, Edit("henslowe", {"uri": URL}))
    assert "# keep\n    type: 'builtin'" in text
    assert YAML(typ="safe").load(text)["extensions"]["henslowe"] == {"uri": URL}


@pytest.mark.parametrize(
    ("client", "text"),
    [
        ("cursor", "{not json"),
        ("cursor", "[]"),
        ("cursor", '{"mcpServers": []}'),
        ("codex", "a = "),
        ("codex", "mcp_servers = 1"),
        ("goose", "a: [\n"),
        ("goose", "- a\n"),
    ],
)
def test_a_file_that_cannot_be_read_is_left_alone(tmp_path: Path, client: str, text: str) -> None:
    file = tmp_path / "config"
    file.write_text(text)
    known = client_of(client)
    with pytest.raises(ConfigError, match="cannot change"):
        change_file(file, lambda before: edited(known, before, Edit("h", {"url": URL})))
    assert file.read_text() == text
    assert list(tmp_path.iterdir()) == [file]


def test_a_file_is_replaced_with_a_backup_and_its_mode_and_link_stay(tmp_path: Path) -> None:
    real = tmp_path / "real.json"
    real.write_text('{"mcpServers": {}}')
    real.chmod(0o640)
    link = tmp_path / "mcp.json"
    link.symlink_to(real)
    cursor = client_of("cursor")
    backup = change_file(link, lambda text: edited(cursor, text, Edit("h", {"url": URL})))
    assert backup is not None
    assert backup.read_text() == '{"mcpServers": {}}'
    assert link.is_symlink()
    assert real.stat().st_mode & 0o777 == 0o640
    assert change_file(link, lambda text: edited(cursor, text, Edit("h", {"url": URL}))) is None  # nothing to change
    for number in range(10):
        change_file(link, lambda text, number=number: edited(cursor, text, Edit("h", {"url": str(number)})))
    assert len(list(tmp_path.glob("*.bak"))) == 5


def test_a_read_only_file_is_left_alone(tmp_path: Path) -> None:
    file = tmp_path / "mcp.json"
    file.write_text("{}")
    file.chmod(0o444)
    with pytest.raises(HensloweError, match="it is read-only") as refused:
        change_file(file, lambda _: "{ }")
    assert "--print" in (refused.value.hint or "")
    assert file.read_text() == "{}"
    assert list(tmp_path.iterdir()) == [file]
    assert change_file(file, lambda text: text) is None  # nothing was to be written


def test_a_home_that_takes_no_lock_is_an_error_with_a_hint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cache").write_text("not a folder")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    with pytest.raises(HensloweError, match="cannot lock"):
        change_file(tmp_path / "mcp.json", lambda _: "{}")
    assert not (tmp_path / "mcp.json").exists()


def test_commands_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    file, cursor = tmp_path / "new" / "mcp.json", client_of("cursor")

    def add(name: str) -> None:
        change_file(file, lambda text: edited(cursor, text, Edit(name, {"url": URL})))

    threads = [threading.Thread(target=add, args=(f"n{number}",)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(json.loads(file.read_text())["mcpServers"]) == 8


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=6), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.dictionaries(st.text(max_size=6), st.dictionaries(st.text(max_size=6), values, max_size=4), max_size=4),
    st.text(max_size=6),
    st.text(max_size=6),
    values,
    st.sampled_from([None, 2, "\t"]),
)
def test_any_json_says_the_same_but_for_the_entry(
    before: dict[str, dict[str, object]], table: str, name: str, value: object, indent: int | str | None
) -> None:
    text = json.dumps(before, indent=indent)
    after = jsonc.put(text, table, name, value)
    expected = {**before, table: {**before.get(table, {}), name: value}}
    assert jsonc.parse(after) == expected
    del expected[table][name]
    assert jsonc.parse(jsonc.drop(after, table, name)) == expected


async def test_the_command_writes_prints_lists_and_removes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    async with serve(tmp_path / "workspace") as served:

        def run(*arguments: str) -> str:
            place = ("--workspace", str(tmp_path / "workspace")) if arguments[0] == "add" else ()
            done = CliRunner().invoke(cli, ["client", *arguments, *place])
            assert done.exit_code == 0, done.output
            return done.output

        file = tmp_path / "home" / ".cursor" / "mcp.json"
        printed = await asyncio.to_thread(run, "add", "cursor", "--print")
        assert served.file.url in printed
        assert not file.exists()
        await asyncio.to_thread(run, "add", "cursor")
        assert json.loads(file.read_text()) == {"mcpServers": {"henslowe": {"url": f"{served.file.url}/mcp"}}}
        assert "henslowe" in await asyncio.to_thread(run, "list")
        removed = await asyncio.to_thread(run, "remove", "cursor")
        assert removed.endswith("next: restart Cursor if it still has it\n")
        assert json.loads(file.read_text()) == {"mcpServers": {}}
