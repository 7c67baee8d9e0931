from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from henslowe.cli.doctor import Level, disk, examine, inotify, python_version
from henslowe.cli.up import prepare
from henslowe.config.provenance import Source
from henslowe.errors import ListenRefused
from tests.cli.conftest import Henslowe
from tests.transport.admin.background import Background, background


def test_a_tool_is_called_and_its_text_printed(node: Background, henslowe: Henslowe) -> None:
    run = henslowe("call", "hello", "greet", '{"name": "Ada"}')
    assert (run.exit_code, run.out) == (0, "Hello, Ada!\n")
    assert henslowe("call", "hello", "greet", "-", stdin='{"name": "Bob"}').out == "Hello, Bob!\n"
    assert henslowe("call", "hello", "greet").out == "Hello, ?!\n"


def test_a_tool_call_as_json_is_the_result(node: Background, henslowe: Henslowe) -> None:
    result = henslowe("call", "hello", "greet", '{"name": "Ada"}', "--json").json
    assert result["content"] == [{"type": "text", "text": "Hello, Ada!"}]


def test_a_tool_whose_name_no_header_can_carry_is_called(node: Background, henslowe: Henslowe) -> None:
    assert '"gruß": "Hallo"' in henslowe("call", "hello", "grüße").out


def test_a_tool_that_failed_exits_with_1_and_shows_its_text_also_from_a_stream(
    node: Background, henslowe: Henslowe
) -> None:
    run = henslowe("call", "hello", "fail")
    assert (run.exit_code, run.out) == (1, "it�[2J broke\n")


def test_a_protocol_error_is_an_error_with_the_next_step(node: Background, henslowe: Henslowe) -> None:
    run = henslowe("call", "hello", "nothing")
    assert run.exit_code == 1
    assert run.err.splitlines()[0] == "error: cannot call nothing of hello: Unknown tool: nothing"
    assert run.err.splitlines()[1] == "fix:   henslowe call hello lists its tools; henslowe status hello says how it is"


def test_without_a_tool_the_tools_of_every_page_are_listed_with_their_arguments(
    node: Background, henslowe: Henslowe
) -> None:
    run = henslowe("call", "hello")
    assert run.exit_code == 0
    assert run.out.splitlines() == [
        "tool      arguments    what it does",
        "greet     name [loud]  Greet somebody.",
        "fail�[2J  -",
        "",
        "next: henslowe call hello greet '{...}'",
    ]
    assert [each["name"] for each in henslowe("call", "hello", "--json").json["tools"]] == ["greet", "fail\x1b[2J"]


def test_a_tool_that_does_not_answer_in_time_is_not_taken_for_a_node_that_is_gone(
    node: Background, henslowe: Henslowe
) -> None:
    run = henslowe("call", "hello", "hang", "--timeout", "0.2")
    assert run.exit_code == 1
    assert "no answer within 0.2 s" in run.err
    assert "--timeout" in run.err


def test_a_tool_that_asks_its_user_is_refused_with_the_way_out(node: Background, henslowe: Henslowe) -> None:
    run = henslowe("call", "hello", "ask")
    assert run.exit_code == 1
    assert "client snippet" in run.err


@pytest.mark.parametrize("arguments", ["{", "[1]", "word"])
def test_arguments_that_are_no_object_exit_with_2(node: Background, henslowe: Henslowe, arguments: str) -> None:
    run = henslowe("call", "hello", "greet", arguments)
    assert run.exit_code == 2
    assert arguments in run.err


def test_the_snippet_is_what_a_client_wants(node: Background, henslowe: Henslowe) -> None:
    url = node.served.file.url
    assert henslowe("client", "snippet", "--json").json == {
        "mcpServers": {"henslowe": {"type": "http", "url": f"{url}/mcp"}}
    }
    entry = henslowe("client", "snippet", "hello", "--token", "laptop", "--json").json["mcpServers"]["hello"]
    assert (entry["type"], entry["url"]) == ("http", f"{url}/mcp/hello")
    assert entry["headers"]["Authorization"].startswith("Bearer hns_")
    (token,) = henslowe("token", "list", "--json").json["tokens"]
    assert (token["name"], token["scopes"]) == ("laptop", ["mcp:hello"]), "no more than the client needs"
    run = henslowe("client", "snippet")
    text, _, following = run.out.partition("\n\nnext: ")
    assert "henslowe" in json.loads(text)["mcpServers"]
    assert following.startswith("henslowe call")


def test_the_snippet_of_a_node_for_others_says_that_the_token_is_missing(workspace: Path, henslowe: Henslowe) -> None:
    toml = 'listen = "0.0.0.0:8400"\nallow_remote = true\nadmin.token_file = ".henslowe/admin.token"\n'
    (workspace / "henslowe.toml").write_text(toml)
    with background(workspace):
        assert henslowe("client", "snippet").out.rstrip().endswith("this node asks every client for one")
        assert "SERVICE TOOL" in henslowe("client", "snippet", "--token", "laptop").out


def test_without_a_socket_a_call_carries_the_token_where_the_user_may_read_it(
    workspace: Path, henslowe: Henslowe
) -> None:
    with background(workspace, socket=False) as node:
        node.node.mcp_token = node.served.token
        assert henslowe("call", "hello", "greet").out == "Hello, ?!\n"
        Path(node.served.file.token_file).unlink()
        run = henslowe("call", "hello", "greet")
        assert run.exit_code == 2
        assert "cannot read the token file" in run.err


# -- config ----------------


def test_config_show_names_the_origin_of_what_is_not_a_default(
    henslowe: Henslowe, workspace: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (workspace / "henslowe.toml").write_text('\nname = "n7"\n[services.t]\ncommand = ["t"]\nenv.KEY = "hunter2"\n')
    monkeypatch.setenv("HENSLOWE_LOG__LEVEL", "DEBUG")
    run = henslowe("config", "show", "--set", "delivery.drain_s=5")
    assert run.exit_code == 0
    rows = {line.split()[0]: line.split()[1:] for line in run.out.splitlines() if line}
    assert rows["name"] == ["n7", "henslowe.toml:2"]
    assert rows["log.level"] == ["DEBUG", "HENSLOWE_LOG__LEVEL"]
    assert rows["delivery.drain_s"] == ["5.0", "--set", "delivery.drain_s"]
    assert rows["services.t.env.KEY"][0] == "***"
    assert "delivery.alpha" not in rows
    assert "delivery.alpha" in henslowe("config", "show", "--all").out
    shown = {row["key"]: row for row in henslowe("config", "show", "--json").json["settings"]}
    assert shown["delivery.alpha"]["source"] == "default"
    assert "hunter2" not in json.dumps(shown)


def test_config_validate_lists_every_problem_and_exits_with_2(henslowe: Henslowe, workspace: Path) -> None:
    (workspace / "henslowe.toml").write_text('lisen = "x"\n[delivery]\nstrategy = "fast"\n')
    run = henslowe("config", "validate")
    assert run.exit_code == 2
    assert run.out.count("error: ") == 2
    assert "did you mean listen?" in run.out
    body = henslowe("config", "validate", "--json").json
    assert body["ok"] is False
    assert [problem["key"] for problem in body["problems"]] == ["lisen", "delivery.strategy"]


def test_config_validate_of_a_good_file_exits_with_0(henslowe: Henslowe, workspace: Path) -> None:
    assert henslowe("config", "validate").exit_code == 0
    (workspace / "henslowe.toml").write_text('name = "n7"\n')
    run = henslowe("config", "validate", "--json")
    assert (run.exit_code, run.json["ok"]) == (0, True)


# -- up ----------------


def test_flags_of_up_become_settings_with_the_flag_as_origin(workspace: Path) -> None:
    loaded = prepare(workspace, listen="127.0.0.1:0", name="n9", assignments=("name=loses", "delivery.drain_s=1"))
    assert (loaded.settings.listen, loaded.settings.name, loaded.settings.delivery.drain_s) == ("127.0.0.1:0", "n9", 1)
    assert str(loaded.origin("name")) == "--name"
    assert loaded.origin("delivery.drain_s").source is Source.FLAG


def test_a_remote_listener_needs_a_token_file_and_naming_one_is_enough(workspace: Path, tmp_path: Path) -> None:
    with pytest.raises(ListenRefused) as caught:
        prepare(workspace, listen="0.0.0.0:8400")
    assert "--token-file FILE" in caught.value.hint
    assert prepare(workspace, listen="0.0.0.0:8400", token_file=str(tmp_path / "t")).settings.allow_remote
    with pytest.raises(ListenRefused):
        prepare(workspace, listen="0.0.0.0:8400", token_file=str(tmp_path / "t"), assignments=("allow_remote=false",))


@pytest.mark.parametrize(
    ("args", "cause"),
    [
        (["--listen", "everywhere"], "expected HOST:PORT"),
        (["--listen", "0.0.0.0:1"], "other machines could reach it"),
        (["--set", "delivery.strategy"], "expected KEY=VALUE"),
        (["--set", "delivery.strategi=auto"], "'delivery.strategi'"),
    ],
)
def test_up_refuses_a_wrong_flag_before_it_touches_the_workspace(
    henslowe: Henslowe, workspace: Path, args: list[str], cause: str
) -> None:
    run = henslowe("up", *args)
    assert run.exit_code == 2
    assert cause in run.err
    assert list(workspace.iterdir()) == []


def test_up_on_a_file_exits_with_2(henslowe: Henslowe, workspace: Path) -> None:
    (workspace / "file").write_text("")
    run = henslowe("up", "file", "--listen", "127.0.0.1:0")
    assert run.exit_code == 2
    assert "to be a folder" in run.err


def test_up_refuses_a_service_name_that_is_none(henslowe: Henslowe, workspace: Path) -> None:
    (workspace / "henslowe.toml").write_text('[services."My Service"]\ncommand = ["x"]\n')
    run = henslowe("up")
    assert run.exit_code == 2
    assert "My Service" in run.err


# -- doctor ----------------


def test_doctor_finds_a_healthy_node(node: Background, henslowe: Henslowe) -> None:
    run = henslowe("doctor", "--json")
    findings = {each["name"]: each for each in run.json["checks"]}
    assert run.exit_code == 0
    assert findings["python"]["level"] == "ok"
    assert findings["uv"]["level"] == "ok"
    assert findings["node.js"]["level"] in ("ok", "warn")
    assert findings["node"]["detail"] == f"answers at {node.node.url}"
    assert findings["data directory"]["level"] == "ok"
    assert "held by process" in findings["lock"]["detail"]


def test_doctor_finds_the_node_whose_data_is_elsewhere(henslowe: Henslowe, workspace: Path, tmp_path: Path) -> None:
    (workspace / "henslowe.toml").write_text(f'data = "{tmp_path / "elsewhere"}"\n')
    with background(workspace) as node:
        (workspace / "henslowe.toml").unlink()  # as if it had been said with --data
        run = henslowe("doctor")
    assert run.exit_code == 0
    assert f"answers at {node.node.url}" in run.out
    assert str(tmp_path / "elsewhere") in run.out


def test_doctor_fails_with_4_when_the_running_node_is_unhealthy(node: Background, henslowe: Henslowe) -> None:
    node.node.well = False
    run = henslowe("doctor")
    assert run.exit_code == 4
    assert "unhealthy: storage" in run.out


def test_doctor_fails_when_the_port_is_taken(henslowe: Henslowe, workspace: Path) -> None:
    import socket

    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        (workspace / "henslowe.toml").write_text(f'listen = "127.0.0.1:{port}"\n')
        run = henslowe("doctor")
    assert run.exit_code == 4
    (line,) = [line for line in run.out.splitlines() if line.startswith("fail")]
    assert str(port) in line
    assert "--listen" in line


def test_doctor_stops_at_a_configuration_that_is_wrong(henslowe: Henslowe, workspace: Path) -> None:
    (workspace / "henslowe.toml").write_text("lisen = 1\n")
    run = henslowe("doctor", "--json")
    assert run.exit_code == 4
    assert run.json["checks"][-1]["fix"] == "did you mean listen?"


def test_doctor_fails_on_a_data_directory_that_cannot_be_written(workspace: Path) -> None:
    (workspace / ".henslowe").write_text("a file where a folder should be")
    findings = {each.name: each for each in examine(workspace)}
    assert findings["data directory"].level is Level.FAIL


def test_old_pythons_small_limits_and_full_disks_are_named_with_a_fix(tmp_path: Path) -> None:
    assert python_version((3, 10, 4)).level is Level.FAIL
    (tmp_path / "max_user_watches").write_text("8192\n")
    low = inotify("max_user_watches", 65_536, tmp_path)
    assert low.level is Level.WARN
    assert "sysctl fs.inotify.max_user_watches=65536" in low.fix
    assert inotify("max_user_instances", 1, tmp_path).level is Level.WARN
    assert disk(tmp_path, lambda _: 10 * 1024**2).level is Level.FAIL
    assert disk(tmp_path, lambda _: 500 * 1024**2).level is Level.WARN
    assert disk(tmp_path, lambda _: 5 * 1024**3).level is Level.OK


def test_the_socket_of_a_node_is_its_owners_alone(node: Background) -> None:
    assert stat.S_IMODE(Path(node.served.file.socket).stat().st_mode) == 0o600
    assert stat.S_IMODE((Path(node.served.file.data) / "node.json").stat().st_mode) == 0o600
