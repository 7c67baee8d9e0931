from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

import annotated_types
import pytest
from hypothesis import given
from hypothesis import strategies as st

from henslowe.config.listen import Address, parse_listen
from henslowe.config.loading import Override, load
from henslowe.config.provenance import Source
from henslowe.config.schema import ANY_NAME, leaves, suggestion
from henslowe.config.settings import Settings
from henslowe.config.toml_file import key_lines
from henslowe.errors import ConfigError, ListenRefused

LEAVES = [path for path in leaves() if path[0] not in ("workspace", "services", "freeze") and ANY_NAME not in path]


def metadata(path: tuple[str, ...]) -> tuple[Any, list[Any]]:
    """The type of a setting and its limits."""
    section: Any = Settings
    for part in path[:-1]:
        section = section.model_fields[part].annotation
    field = section.model_fields[path[-1]]
    for option in get_args(field.annotation):  # a number, or nothing
        if hasattr(option, "__metadata__") and hasattr(option.__metadata__[0], "metadata"):
            return option.__origin__, list(option.__metadata__[0].metadata)
    return field.annotation, list(field.metadata)


def three_values(path: tuple[str, ...]) -> list[Any]:
    """Three valid values of a setting, none of them its default where it has so many."""
    annotation, limits = metadata(path)
    if get_origin(annotation) is Literal:
        return (list(get_args(annotation)) * 2)[:3]
    if annotation is bool:
        return [True, False, True]
    if path[-1] == "listen":
        return ["127.0.0.1:1", "127.0.0.1:2", "localhost:3"]
    if get_origin(annotation) is tuple and get_origin(item := get_args(annotation)[0]) is Literal:
        words = get_args(item)
        return [[words[0]], list(words[1:3]), []]
    if path == ("webhooks", "allow"):
        return [["10.0.0.0/8"], ["::1/128", "127.0.0.0/8"], []]
    if get_origin(annotation) is tuple:
        return [["a"], ["b", "c"], []]
    if path[-1] == "public_url":
        return ["https://one", "https://two", "http://three"]
    if annotation is str:
        return ["one", "two", "three"]
    if Path in (annotation, *get_args(annotation)):
        return ["/one", "/two", "/three"]
    lowest = next((m.ge for m in limits if isinstance(m, annotated_types.Ge)), None)
    lowest = next((m.gt + 0.001 for m in limits if isinstance(m, annotated_types.Gt)), lowest)
    for limit in limits:  # Annotated[...] inside the annotation keeps its own
        if hasattr(limit, "metadata"):
            lowest = next((m.ge for m in limit.metadata if isinstance(m, annotated_types.Ge)), lowest)
    assert lowest is not None, path
    step = 1 if annotation is int else 0.01
    return [lowest + step * n for n in range(3)]


def as_text(value: Any) -> str:
    """A value as a variable or a flag has it."""
    if isinstance(value, bool):
        return str(value).lower()
    return json.dumps(value) if isinstance(value, list) else str(value)


def as_toml(path: tuple[str, ...], value: Any) -> str:
    return f"{'.'.join(path)} = {json.dumps(value)}\n"


def value_at(settings: Settings, path: tuple[str, ...]) -> Any:
    value: Any = settings
    for part in path:
        value = getattr(value, part)
    return value


def comparable(value: Any) -> Any:
    if isinstance(value, Path):
        return str(value)
    return list(value) if isinstance(value, tuple) else value


COMPANIONS = {
    "watcher.debounce_max_ms": {"watcher.debounce_ms": "0"},
    "access.mode": {"access.oauth.issuer": "https://login.example"},
    "tls.cert_file": {"tls.key_file": "/key.pem"},
    "tls.key_file": {"tls.cert_file": "/cert.pem"},
}
"""What a setting cannot be without."""


@pytest.mark.parametrize("path", LEAVES, ids=".".join)
def test_the_strongest_source_wins_and_is_named_for_every_setting(path: tuple[str, ...], tmp_path: Path) -> None:
    key, variable = ".".join(path), "HENSLOWE_" + "__".join(path).upper()
    in_file, in_environment, in_flag = three_values(path)
    # a limit between two settings must not get in the way of the one that is looked at
    companions = COMPANIONS.get(key, {})
    default = value_at(Settings(), path)
    for file, environment, flag in product([False, True], repeat=3):
        (tmp_path / "henslowe.toml").write_text(as_toml(path, in_file) if file else "")
        loaded = load(
            tmp_path,
            environ={variable: as_text(in_environment)} if environment else {},
            overrides=[
                *(Override(k, v, "--companion") for k, v in companions.items() if file or environment or flag),
                *([Override(key, as_text(in_flag), "--flag")] if flag else []),
            ],
        )
        expected, origin = (
            (in_flag, (Source.FLAG, "--flag"))
            if flag
            else (in_environment, (Source.ENVIRONMENT, variable))
            if environment
            else (in_file, (Source.FILE, "henslowe.toml:1"))
            if file
            else (comparable(default), (Source.DEFAULT, ""))
        )
        assert comparable(value_at(loaded.settings, path)) == expected
        found = loaded.origin(key)
        assert (found.source, found.where) == origin


def test_settings_of_services_come_from_all_sources_and_names_of_variables_keep_their_capitals(
    tmp_path: Path,
) -> None:
    (tmp_path / "henslowe.toml").write_text(
        '[services.time]\ncommand = ["time"]\n[services.time.env]\nA = "file"\nB = "b"\n'
    )
    loaded = load(
        tmp_path,
        environ={"HENSLOWE_SERVICES__TIME__ENV__A": "environment", "HENSLOWE_SERVICES__WEB__URL": "http://x/mcp"},
        overrides=[Override.parse("services.time.env.C=flag")],
    )
    assert loaded.settings.services["time"].env == {"A": "environment", "B": "b", "C": "flag"}
    assert loaded.settings.services["web"].url == "http://x/mcp"
    assert str(loaded.origin("services.time.env.B")) == "henslowe.toml:5"


def test_paths_in_the_file_are_relative_to_the_workspace_and_others_to_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, here = tmp_path / "ws", tmp_path / "here"
    workspace.mkdir()
    here.mkdir()
    monkeypatch.chdir(here)
    (workspace / "henslowe.toml").write_text('data = "d"\nadmin.token_file = "t"\n')
    loaded = load(Path("../ws"), environ={"HENSLOWE_ADMIN__TOKEN_FILE": "e"})
    assert loaded.settings.workspace == workspace
    assert loaded.settings.data_dir == workspace / "d"
    assert loaded.settings.admin.token_file == here / "e"
    assert load(workspace, environ={"HENSLOWE_DATA": ""}).settings.data_dir == workspace / ".henslowe"


def test_the_workspace_comes_from_the_argument_else_the_environment_else_the_current_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    environ = {"HENSLOWE_WORKSPACE": str(tmp_path / "env")}
    assert load(tmp_path / "arg", environ=environ).settings.workspace == tmp_path / "arg"
    assert load(environ=environ).settings.workspace == tmp_path / "env"
    assert load(environ={}).settings.workspace == tmp_path


def test_the_kernels_own_variable_is_no_setting(tmp_path: Path) -> None:
    assert (
        load(tmp_path, environ={"HENSLOWE_NODE": "n1:3", "PATH": "/bin"}).settings
        == load(tmp_path, environ={}).settings
    )


@pytest.mark.parametrize(
    ("text", "expected"),
    [("a, b", ("a", "b")), ('["a", "b"]', ("a", "b")), ("", ()), ("a", ("a",))],
)
def test_a_list_in_a_variable_is_json_or_separated_by_commas(
    tmp_path: Path, text: str, expected: tuple[str, ...]
) -> None:
    assert load(tmp_path, environ={"HENSLOWE_GATEWAY__HOSTS": text}).settings.gateway.hosts == expected


@pytest.mark.parametrize(
    ("toml", "environ", "overrides", "message", "hint"),
    [
        (
            "\n[delivery]\nstrategi = 'x'",
            {},
            [],
            "expected a setting, got: 'delivery.strategi' (henslowe.toml:3)",
            "did you mean delivery.strategy?",
        ),
        ("strategy = 'canary'", {}, [], "got: 'strategy' (henslowe.toml:1)", "did you mean delivery.strategy?"),
        (
            "[delivery]\nstrategy = 'fast'",
            {},
            [],
            "delivery.strategy: expected one of 'auto', 'immediate', 'canary' or 'blue-green', got: 'fast' (",
            "delivery.strategy in henslowe.toml:2",
        ),
        ("delivery.drain_s = -1", {}, [], "delivery.drain_s: expected at least 0, got: -1 (henslowe.toml:1)", "change"),
        ("delivery.alpha = 0.5", {}, [], "delivery.alpha: expected less than 0.5, got: 0.5", "change"),
        ("delivery.units_min = 1.5", {}, [], "delivery.units_min: expected a whole number, got: 1.5", "change"),
        ("allow_remote = 'maybe'", {}, [], "allow_remote: expected true or false, got: 'maybe'", "change"),
        ("delivery = 3", {}, [], "delivery: expected a table, got: 3 (henslowe.toml:1)", "write [delivery]"),
        ("gateway.hosts = 'a'", {}, [], "gateway.hosts: expected a list, got: 'a'", "change"),
        ("listen = 80", {}, [], "listen: expected text, got: 80", "change"),
        ("workspace = 'x'", {}, [], "workspace: expected no such key", "remove it"),
        ("a = [", {}, [], "cannot read henslowe.toml", "correct that line"),
        ("a = 1\nb = 2 3", {}, [], "line 2", "correct that line"),
        (
            "[services.x]",
            {},
            [],
            "services.x: expected a command or a url, got neither (henslowe.toml:1)",
            "services.x.command",
        ),
        (
            "[services.x]\nurl = 'nope'",
            {},
            [],
            "services.x.url: expected an http:// or https:// address, got: 'nope' (henslowe.toml:2)",
            "https://host/mcp",
        ),
        (
            "[services.x]\ncommand = ['a']\nurl = 'http://127.0.0.1:9/mcp'",
            {},
            [],
            "services.x.url: expected {port} in the address of a command that listens, got: 'http://127.0.0.1:9/mcp'",
            "{port}",
        ),
        ("[services]\nx = 1", {}, [], "services.x: expected a table, got: 1 (henslowe.toml:2)", "[services.x]"),
        ("[services.x]\ncomand = ['x']", {}, [], "got: 'services.x.comand' (henslowe.toml:2)", "services.x.command"),
        (
            "[services.x]\ncommand = 'x'",
            {},
            [],
            "services.x.command: expected a list, got: 'x' (henslowe.toml:2)",
            "change",
        ),
        (
            "[watcher]\ndebounce_ms = 900",
            {},
            [],
            "expected at least watcher.debounce_ms (900), got: 500 (henslowe.toml:2)",
            "lower watcher.debounce_ms",
        ),
        (
            "",
            {"HENSLOWE_LISTN": "x"},
            [],
            "HENSLOWE_LISTN: expected a variable that names a setting",
            "did you mean HENSLOWE_LISTEN?",
        ),
        ("", {"HENSLOWE_STRATEGY": "x"}, [], "HENSLOWE_STRATEGY", "did you mean HENSLOWE_DELIVERY__STRATEGY?"),
        ("", {"HENSLOWE_ZZZ": "x"}, [], "HENSLOWE_ZZZ", "unset HENSLOWE_ZZZ"),
        ("", {"HENSLOWE_DELIVERY": "x"}, [], "expected a key of this table", "write delivery.KEY"),
        (
            "",
            {"HENSLOWE_DELIVERY__DRAIN_S": "soon"},
            [],
            "expected a number, got: 'soon' (HENSLOWE_DELIVERY__DRAIN_S)",
            "change or unset HENSLOWE_DELIVERY__DRAIN_S",
        ),
        (
            "",
            {},
            ["delivery.drain=1"],
            "got: 'delivery.drain' (--set delivery.drain)",
            "did you mean delivery.drain_s?",
        ),
        ("", {}, ["log.level=loud"], "got: 'loud' (--set log.level)", "change --set log.level"),
        ("listen = 'here'", {}, [], "of 0 to 65535, got: 'here' (henslowe.toml:1)", "--listen 127.0.0.1:8400"),
    ],
)
def test_an_error_names_the_key_what_was_expected_what_was_found_and_where(  # noqa: PLR0917
    tmp_path: Path, toml: str, environ: dict[str, str], overrides: list[str], message: str, hint: str
) -> None:
    (tmp_path / "henslowe.toml").write_text(toml)
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, environ=environ, overrides=[Override.parse(each) for each in overrides])
    assert message in caught.value.message
    assert hint in caught.value.hint
    assert caught.value.exit_code == 2


def test_all_problems_are_in_the_details(tmp_path: Path) -> None:
    (tmp_path / "henslowe.toml").write_text("lisen = 1\n[delivery]\nalpha = 7\nbeta = 'x'\n")
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, environ={"HENSLOWE_NAM": "n"})
    keys = [each["key"] for each in caught.value.details["problems"]]
    assert keys == ["lisen", "nam", "delivery.alpha", "delivery.beta"]
    assert "and 3 more" in caught.value.message
    assert "henslowe config validate" in caught.value.hint


@pytest.mark.parametrize("content", [b"\xff\xfe", b"# ok\nname = '\xe4'"])
def test_a_file_that_is_not_utf_8_is_named_with_the_line(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "henslowe.toml").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"henslowe\.toml:{content.count(10) + 1}: expected UTF-8"):
        load(tmp_path, environ={})


def test_a_file_beyond_a_mebibyte_is_refused(tmp_path: Path) -> None:
    (tmp_path / "henslowe.toml").write_bytes(b"#" * (1024 * 1024 + 1))
    with pytest.raises(ConfigError, match="at most 1048576 bytes"):
        load(tmp_path, environ={})


# -- listening ----------------


@pytest.mark.parametrize(
    ("text", "expected", "loopback"),
    [
        ("127.0.0.1:8400", Address("127.0.0.1", 8400), True),
        (":0", Address("127.0.0.1", 0), True),
        ("LocalHost:1", Address("LocalHost", 1), True),
        ("127.8.8.8:1", Address("127.8.8.8", 1), True),
        ("[::1]:65535", Address("::1", 65535), True),
        ("0.0.0.0:1", Address("0.0.0.0", 1), False),
        ("[::]:1", Address("::", 1), False),
        ("10.0.0.1:1", Address("10.0.0.1", 1), False),
        ("example.org:1", Address("example.org", 1), False),
        ("localhost.example.org:1", Address("localhost.example.org", 1), False),
    ],
)
def test_addresses_are_read_and_only_loopback_is_taken_for_loopback(
    text: str, expected: Address, loopback: bool
) -> None:
    address = parse_listen(text)
    assert address == expected
    assert address.loopback is loopback
    assert parse_listen(str(address)) == address


@pytest.mark.parametrize(
    "text", ["", "80", "host", "host:", "host:x", "host:65536", "::1:80", "a b:1", "host:-1", "host:١"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="expected HOST:PORT"):
        parse_listen(text)


@pytest.mark.parametrize(
    ("allow", "token", "permitted"),
    [(False, False, False), (True, False, False), (False, True, False), (True, True, True)],
)
def test_a_listener_for_others_needs_both_the_permission_and_a_token(
    tmp_path: Path, allow: bool, token: bool, permitted: bool
) -> None:
    toml = f"listen = '0.0.0.0:8400'\nallow_remote = {str(allow).lower()}\n"
    (tmp_path / "henslowe.toml").write_text(toml + ("admin.token_file = 't'\n" if token else ""))
    if permitted:
        assert load(tmp_path, environ={}).settings.allow_remote
        return
    with pytest.raises(ListenRefused) as caught:
        load(tmp_path, environ={})
    assert "(henslowe.toml:1)" in caught.value.message
    assert "--token-file" in caught.value.hint


# -- the schema and the lines ----------------


@given(st.sampled_from(LEAVES), st.data())
def test_a_key_with_one_letter_missing_is_recognised(path: tuple[str, ...], data: st.DataObject) -> None:
    word = path[-1]
    if len(word) < 5:
        return
    index = data.draw(st.integers(0, len(word) - 1))
    typo = word[:index] + word[index + 1 :]
    if (*path[:-1], typo) in leaves():
        return
    assert suggestion((*path[:-1], typo)).startswith(".".join(path[:-1]))
    assert suggestion((*path[:-1], typo)) != ""


def test_every_leaf_of_the_schema_is_a_setting_that_config_show_lists(tmp_path: Path) -> None:
    shown = {row.key for row in load(tmp_path, environ={}).rows()}
    assert {".".join(path) for path in leaves() if ANY_NAME not in path} == shown


def test_lines_of_keys_are_found_whatever_the_values_look_like() -> None:
    text = '''\
# a = 1
a = 1
"quoted key" = 2
dotted . b = [
  "x = [", # c = 1
  "]",
]
[ table . "in.ner" ] # comment
d = """
e = 1
"""
f = \'\'\'one line = 1\'\'\'
g = { h = 1 }
[[ many ]]
i = 1
'''
    assert key_lines(text) == {
        ("a",): 2,
        ("quoted key",): 3,
        ("dotted", "b"): 4,
        ("table", "in.ner"): 8,
        ("table", "in.ner", "d"): 9,
        ("table", "in.ner", "f"): 12,
        ("table", "in.ner", "g"): 13,
        ("many",): 14,
        ("many", "i"): 15,
    }


def test_freeze_windows_are_a_list_of_tables_whose_mistakes_are_named(tmp_path: Path) -> None:
    file = tmp_path / "henslowe.toml"
    file.write_text('[[freeze.windows]]\nstart = "fri 16:00"\nend = "mon 08:00"\nzone = "Europe/Berlin"\n')
    (window,) = load(tmp_path, environ={}).settings.freeze.windows
    assert (window.start, window.zone) == ("fri 16:00", "Europe/Berlin")
    file.write_text('[[freeze.windows]]\nstart = "fri"\nend = "mon 08:00"\n')
    with pytest.raises(ConfigError, match=r"freeze\.windows.*expected a time such as 'fri 16:00'"):
        load(tmp_path, environ={})
