"""`service.toml` changed by programs: comments stay, wrong changes leave everything, nothing is deleted."""

from __future__ import annotations

import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from henslowe.config.manifest import ServiceFolders, ServiceManifest
from henslowe.config.manifest.editing import TEXT_CHARS_MAX, assignment, edited, etag_of
from henslowe.errors import ConfigError, Conflict, ManifestError, NotFound, PreconditionFailed, WorkspaceError

TEXT = """\
# ours
version = "1.4.0"   # said twice

[launch]
command = ["python", "server.py"]
env = { UNITS = "metric" }

[stages.test]       # slow
timeout_s = 60
"""

# -- the text ----------------


def test_keys_are_set_and_comments_stay() -> None:
    text = edited(TEXT, {"strategy": "canary", "stages.test.timeout_s": 30, "launch.env.LANG": "C"})
    assert tomllib.loads(text) == {
        "version": "1.4.0",
        "strategy": "canary",
        "launch": {"command": ["python", "server.py"], "env": {"UNITS": "metric", "LANG": "C"}},
        "stages": {"test": {"timeout_s": 30}},
    }
    for comment in ("# ours", "# said twice", "# slow"):
        assert comment in text


def test_tables_that_are_not_there_are_made() -> None:
    text = edited("", {"health.max_error_rate": 0.1, "steps": [{"weight": 5}, {"weight": 50}]})
    assert tomllib.loads(text) == {"health": {"max_error_rate": 0.1}, "steps": [{"weight": 5}, {"weight": 50}]}


def test_keys_are_removed() -> None:
    text = edited(TEXT, {}, ["version", "stages.test"])
    assert tomllib.loads(text).keys() == {"launch"}
    assert "# ours" in text


@pytest.mark.parametrize(
    ("assign", "remove", "words"),
    [
        ({"version.part": 1}, [], "expected version to be a table"),
        ({"a..b": 1}, [], "expected a key such as"),
        ({"": 1}, [], "expected a key such as"),
        ({"strategy": None}, [], "cannot change service.toml"),
        ({}, ["strategy"], "cannot remove strategy"),
        ({}, ["version.part"], "expected version to be a table"),
    ],
)
def test_what_cannot_be_done_is_told(assign: dict[str, Any], remove: list[str], words: str) -> None:
    with pytest.raises(ManifestError, match=words):
        edited(TEXT, assign, remove)


def test_a_file_that_is_no_toml_is_left_to_its_person() -> None:
    with pytest.raises(ManifestError, match="cannot change"):
        edited("[launch", {"strategy": "canary"})


WORDS = st.text(alphabet="abcz_", min_size=1, max_size=4)
VALUES = st.one_of(st.booleans(), st.integers(-9, 9), st.text(max_size=8), st.lists(st.integers(0, 9), max_size=3))


@settings(max_examples=60)
@given(st.dictionaries(st.lists(WORDS, min_size=1, max_size=3).map(".".join), VALUES, max_size=6))
def test_a_change_says_what_was_meant_or_is_refused(assign: dict[str, Any]) -> None:
    assume(not any(other.startswith(f"{key}.") for key in assign for other in assign))
    try:
        text = edited("# kept\n[a]\nb = 1\n", assign)
    except ManifestError:
        return
    said = tomllib.loads(text)
    for key, value in assign.items():
        at: Any = said
        for part in key.split("."):
            at = at[part]
        assert at == value
    assert "# kept" in text


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("strategy=canary", ("strategy", "canary")),
        ("canary_percent = 5", ("canary_percent", 5)),
        ('launch.command=["a", "b"]', ("launch.command", ["a", "b"])),
        ("launch.url=http://x/y?a=b", ("launch.url", "http://x/y?a=b")),
        ('version="1.0"', ("version", "1.0")),
        ("version=1.0.0", ("version", "1.0.0")),
    ],
)
def test_a_persons_words_are_toml_where_they_are_some(text: str, meant: tuple[str, Any]) -> None:
    assert assignment(text) == meant


@pytest.mark.parametrize("text", ["strategy", "=5"])
def test_an_assignment_has_a_key_and_a_value(text: str) -> None:
    with pytest.raises(ConfigError, match="expected KEY=VALUE"):
        assignment(text)


# -- the folders ----------------


@pytest.fixture
def folders(tmp_path: Path) -> ServiceFolders:
    def check(manifest: ServiceManifest) -> None:
        if manifest.version == "6.6.6":
            raise ManifestError("expected another version")

    return ServiceFolders(tmp_path / "ws", tmp_path / "data", declared=["declared"], check=check)


RUN = '[launch]\ncommand = ["true"]\n'


def test_a_service_is_added_changed_and_set_aside(folders: ServiceFolders, tmp_path: Path) -> None:
    added = folders.add("time", RUN)
    assert (added.created, added.builds) == (True, True)
    assert folders.read("time").text == RUN
    shipped = folders.edit("time", {"strategy": "canary", "health.max_error_rate": 0.1})
    assert not shipped.builds
    assert folders.edit("time", {"launch.env.A": "1"}).builds
    assert not folders.edit("time", {}, ["health"]).builds
    kept = folders.set_aside("time")
    assert kept.parent == tmp_path / "data/removed"
    assert tomllib.loads((kept / "service.toml").read_text())["launch"]["env"] == {"A": "1"}
    with pytest.raises(NotFound):
        folders.read("time")
    folders.add("time", RUN)


@pytest.mark.parametrize("text", ["", "[launch", "[launch]\ncommand = 3\n", f'version = "6.6.6"\n{RUN}', "x" * 300_000])
def test_a_service_that_could_not_be_used_is_not_added(folders: ServiceFolders, tmp_path: Path, text: str) -> None:
    with pytest.raises(ManifestError):
        folders.add("time", text)
    assert list((tmp_path / "ws/dev").iterdir()) == []


def test_a_change_that_is_wrong_leaves_the_file_as_it_was(folders: ServiceFolders) -> None:
    before = folders.add("time", RUN)
    for assign in ({"strategy": "rush"}, {"stages.x.run": 3}, {"version": "6.6.6"}, {"nmae": "x"}):
        with pytest.raises(ManifestError):
            folders.edit("time", assign)
    with pytest.raises(ManifestError):
        folders.write("time", "#" * (TEXT_CHARS_MAX + 1))
    assert folders.read("time") == type(before)("time", before.folder, RUN)
    assert [path.name for path in before.folder.iterdir()] == ["service.toml"]


def test_who_read_an_older_text_changes_nothing(folders: ServiceFolders) -> None:
    old = folders.add("time", RUN).etag
    folders.edit("time", {"strategy": "canary"}, expected=old)
    with pytest.raises(PreconditionFailed) as raised:
        folders.edit("time", {"strategy": "immediate"}, expected=old)
    assert raised.value.details["etag"] == folders.read("time").etag
    with pytest.raises(PreconditionFailed):
        folders.set_aside("time", expected=old)
    folders.edit("time", {"strategy": "immediate"}, expected="*")
    assert etag_of("a") != etag_of("b")


def test_names_that_are_taken_are_refused(folders: ServiceFolders, tmp_path: Path) -> None:
    folders.add("time", RUN)
    for name in ("time", "declared"):
        with pytest.raises(Conflict):
            folders.add(name, RUN)
        with pytest.raises(Conflict):
            folders.link(name, tmp_path)


def test_sources_elsewhere_are_linked_and_removing_undoes_only_the_link(
    folders: ServiceFolders, tmp_path: Path
) -> None:
    sources = tmp_path / "elsewhere"
    sources.mkdir()
    with pytest.raises(ManifestError):
        folders.link("weather", sources)
    (sources / "server.py").write_text("")
    made = folders.link("weather", sources)
    assert made.folder.resolve() == sources
    folders.edit("weather", {"strategy": "canary"})
    assert (sources / "service.toml").read_text() == 'strategy = "canary"\n'
    assert folders.set_aside("weather") == sources
    assert (sources / "server.py").exists()
    with pytest.raises(WorkspaceError, match="expected a folder"):
        folders.link("weather", tmp_path / "nowhere")


def test_a_workspace_that_cannot_be_written_is_told(tmp_path: Path) -> None:
    (tmp_path / "dev").write_text("a file")
    with pytest.raises(WorkspaceError, match="cannot write"):
        ServiceFolders(tmp_path, tmp_path / "data").add("time", RUN)
