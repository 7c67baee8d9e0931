"""The small parts: contracts, output, copies, cache keys, names of releases, environments."""

import asyncio
import os
import shutil
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from henslowe.actors.endpoints import Contract
from henslowe.actors.ids import BuildId, ServiceName, VersionKey
from henslowe.actors.pipeline import environment, release
from henslowe.actors.pipeline.advice import advice
from henslowe.actors.pipeline.commands import Place
from henslowe.actors.pipeline.contract_check import FINDINGS_MAX, findings, schema_problem
from henslowe.actors.pipeline.environment import service_env
from henslowe.actors.pipeline.output import KEPT_LINES, LineReader, StageOutput
from henslowe.actors.pipeline.plan import PlannedStage
from henslowe.actors.pipeline.stage_cache import Remembered, StageCache, stage_key
from henslowe.actors.pipeline.workdir import Workdir, add_artifacts, take_snapshot
from henslowe.actors.sources import Tree, scan
from henslowe.config.manifest import read_manifest
from henslowe.errors import NotFound
from henslowe.storage import Archive

VERSION = VersionKey(ServiceName("hello"), 1)


def tool(name: str, schema: object = None, **more: object) -> dict:
    return {"name": name, "inputSchema": {"type": "object"} if schema is None else schema, **more}


# -- contracts ----------------


def test_a_sound_contract_has_no_findings() -> None:
    schema = {
        "type": "object",
        "properties": {"a": {"$ref": "#/$defs/A"}},
        "$defs": {"A": {"type": "string", "pattern": "^x"}},
    }
    contract = Contract(tools=(tool("a", schema, outputSchema={"type": "object"}),), resources=({"uri": "x://y"},))
    assert findings(contract) == []


@pytest.mark.parametrize(
    ("tools", "words"),
    [
        ([tool("a"), tool("a")], "tool 'a': expected each name once, got it again"),
        ([tool("")], "tool: expected a name, got ''"),
        ([{"name": "a"}], "tool 'a': expected an inputSchema, got none"),
        ([tool("a", [])], "inputSchema: expected an object, got list"),
        ([tool("a", {"type": "string"})], 'inputSchema: expected "type": "object" at its root, got \'string\''),
        ([tool("a", {"type": "object", "required": "x"})], "tool 'a': inputSchema: "),
        ([tool("a", {"type": "object", "properties": {"p": {"pattern": "("}}})], "(at properties/p/pattern)"),
        ([tool("a", outputSchema={"type": "object", "properties": 3})], "tool 'a': outputSchema: "),
        ([tool("a", {"type": "object", "properties": {"p": {"$ref": "#/$defs/none"}}})], "/$defs/none"),
        (
            [tool("a", {"type": "object", "properties": {"p": {"$ref": "http://x.example/s.json"}}})],
            "expected references within the schema, got a remote one: http://x.example/s.json",
        ),
    ],
)
def test_a_finding_names_the_tool_and_the_place(tools: list[dict], words: str) -> None:
    found = findings(Contract(tools=tuple(tools)))
    assert len(found) == 1
    assert words in found[0]


def test_findings_are_bounded() -> None:
    assert len(findings(Contract(tools=tuple(tool("a") for _ in range(100))))) == FINDINGS_MAX


def test_a_schema_of_another_draft_is_accepted() -> None:
    assert schema_problem({"$schema": "http://json-schema.org/draft-07/schema#", "type": "object"}) == ""


# -- output ----------------


def test_lines_are_cut_from_any_chunks() -> None:
    for size in (1, 2, 7, 100):
        reader, lines = LineReader(80), []
        data = "first\r\nzwölf\n\nlast".encode()
        for start in range(0, len(data), size):
            lines += reader.feed(data[start : start + size])
        assert [*lines, *reader.end()] == ["first", "zwölf", "", "last"]


def test_a_long_line_is_cut_and_says_so() -> None:
    for size in (3, 1000):
        reader, lines = LineReader(10), []
        data = b"x" * 25 + b"\nshort\n"
        for start in range(0, len(data), size):
            lines += reader.feed(data[start : start + size])
        assert lines == ["xxxxxxxxxx… (15 bytes more)", "short"]


async def test_output_beyond_the_limit_is_counted_and_the_tail_is_kept() -> None:
    batches: list[list] = []
    output = StageOutput(batches.append, lines_max=300, bytes_max=100_000, line_bytes_max=100)
    for number in range(1000):
        output.add("stdout", f"line {number}")
    output.close()
    lines = [text for batch in batches for _, text in batch]
    assert lines[:300] == [f"line {number}" for number in range(300)]
    assert lines[300:] == ["700 more lines were not kept"]
    assert max(len(batch) for batch in batches) <= 200
    assert len(output.kept) == KEPT_LINES
    assert output.excerpt().endswith("line 999")


async def test_output_is_limited_in_bytes_as_well() -> None:
    batches: list[list] = []
    output = StageOutput(batches.append, lines_max=300, bytes_max=1_000, line_bytes_max=400)
    for text in ("é" * 200, "x" * 400, "x" * 400, "short"):
        output.add("stdout", text)
    output.close()
    lines = [text for batch in batches for _, text in batch]
    assert [len(line) for line in lines[:-1]] == [200, 400]
    assert lines[-1] == "2 more lines were not kept"


async def test_a_few_lines_are_handed_on_without_waiting_for_more() -> None:
    handed: asyncio.Queue[list] = asyncio.Queue()
    output = StageOutput(handed.put_nowait, lines_max=300, bytes_max=100_000, line_bytes_max=100)
    output.add("stderr", "now")
    assert await asyncio.wait_for(handed.get(), 5.0) == [("stderr", "now")]


# -- advice ----------------


@pytest.mark.parametrize(
    ("excerpt", "files", "advised"),
    [
        ("ModuleNotFoundError: No module named 'httpx'", ["server.py"], True),
        ("E   ModuleNotFoundError: No module named 'httpx.sub'", ["test_a.py"], True),
        ("ModuleNotFoundError: No module named 'helpers'", ["helpers.py"], False),
        ("ModuleNotFoundError: No module named 'helpers.more'", ["helpers/__init__.py"], False),
        ("ImportError: cannot import name 'x' from 'httpx'", ["server.py"], False),
    ],
)
def test_only_a_package_that_is_not_the_services_own_is_to_be_declared(
    excerpt: str, files: list[str], advised: bool
) -> None:
    assert bool(advice(excerpt, files)) is advised


@pytest.mark.parametrize(
    "excerpt",
    [
        "OSError: [Errno 30] Read-only file system: '/srv/notes.txt'",
        "Error: EROFS: read-only file system, open '/srv/notes.txt'",
        "PermissionError: [Errno 13] Permission denied: '/srv/notes.txt'",
        "Error: EACCES: permission denied, open '/srv/notes.txt'",
        "sqlite3.OperationalError: unable to open database file",
    ],
)
def test_a_server_that_writes_where_its_cage_forbids_it_is_told_where_it_may(excerpt: str) -> None:
    hint = advice(excerpt, ["server.py"], caged=True)
    assert "$HENSLOWE_SERVICE_DATA" in hint
    assert "[services]" in hint
    assert advice(excerpt, ["server.py"]) == "", "without a cage it is something else"


# -- the copy ----------------


def test_a_snapshot_is_the_sources_and_only_them(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for path in ("server.py", "sub/a.py", ".venv/x.py", "node_modules/m.js"):
        (source / path).parent.mkdir(parents=True, exist_ok=True)
        (source / path).write_text(path)
    (source / "run.sh").write_text("x")
    (source / "run.sh").chmod(0o755)
    outside = tmp_path / "outside.py"
    outside.write_text("linked")
    (source / "link.py").symlink_to(outside)
    work = Workdir(tmp_path / "run")
    snapshot = take_snapshot(source, work, ())
    assert sorted(snapshot.files) == ["link.py", "run.sh", "server.py", "sub/a.py"]
    assert snapshot.digest == scan(source, Tree(), 0).digest
    for copy in (work.src, work.pack):
        assert scan(copy, Tree(), 0).digest == snapshot.digest
        assert (copy / "run.sh").stat().st_mode & 0o100
        assert not (copy / "link.py").is_symlink()


def test_a_source_folder_that_is_gone_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="it is gone"):
        take_snapshot(tmp_path / "nowhere", Workdir(tmp_path / "run"), ())


def test_artifacts_replace_sources_and_leave_the_rest(tmp_path: Path) -> None:
    source = tmp_path / "source"
    source.mkdir()
    (source / "generated.py").write_text("old")
    work = Workdir(tmp_path / "run")
    take_snapshot(source, work, ())
    (work.src / "generated.py").write_text("new")
    (work.src / "litter.txt").write_text("x")
    (work.src / "out").mkdir()
    (work.src / "out/a.js").write_text("x")
    assert add_artifacts(work, ("out/", "generated.py")) == ["generated.py", "out/a.js"]
    assert (work.pack / "generated.py").read_text() == "new"
    assert not (work.pack / "litter.txt").exists()


# -- the cache ----------------


KEY = {"environment": "e", "program": "p", "before": {"deps": "k"}}
STAGE = PlannedStage("lint", command=("ruff",), inputs=("*.py",))
FILES = {"a.py": "1", "sub/b.py": "2", "notes.md": "3"}


def test_a_key_ignores_what_the_stage_does_not_read() -> None:
    key = stage_key(STAGE, FILES, **KEY)
    assert stage_key(STAGE, {**FILES, "notes.md": "changed"}, **KEY) == key
    assert stage_key(replace(STAGE, timeout_s=1), FILES, **KEY) == key


@pytest.mark.parametrize(
    ("stage", "files", "changes"),
    [
        (STAGE, {**FILES, "sub/b.py": "changed"}, {}),
        (STAGE, {"a.py": "1"}, {}),
        (replace(STAGE, command=("ruff", "--fix")), FILES, {}),
        (replace(STAGE, env={"A": "1"}), FILES, {}),
        (replace(STAGE, artifacts=("x",)), FILES, {}),
        (STAGE, FILES, {"environment": "other"}),
        (STAGE, FILES, {"program": "other"}),
        (STAGE, FILES, {"before": {"deps": "other"}}),
    ],
)
def test_a_key_changes_with_whatever_may_change_the_result(stage: PlannedStage, files: dict, changes: dict) -> None:
    assert stage_key(stage, files, **{**KEY, **changes}) != stage_key(STAGE, FILES, **KEY)


def test_a_damaged_or_incomplete_entry_is_a_miss(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "archive")
    cache, work = StageCache(tmp_path / "cache", archive), Workdir(tmp_path / "run")
    cache.save("ab" * 32, Remembered(5, (("stdout", "hello"),)))
    assert cache.load("ab" * 32, work) == Remembered(5, (("stdout", "hello"),))
    (tmp_path / "cache/ab" / f"{'ab' * 32}.json").write_text('{"lines": ')
    assert cache.load("ab" * 32, work) is None
    cache.save("cd" * 32, Remembered(5, artifacts="0" * 64))  # collected meanwhile
    assert cache.load("cd" * 32, work) is None
    assert cache.load("ef" * 32, work) is None
    gone = Remembered(5, result={"tests": None}, kept="0" * 64)  # of reports it is known what they said
    cache.save("0a" * 32, gone)
    assert cache.load("0a" * 32, work, "test") == gone


# -- releases ----------------


def staged(tmp_path: Path, content: str, number: int) -> release.Staged:
    pack = tmp_path / f"pack{number}"
    pack.mkdir()
    (pack / "server.py").write_text(content)
    version = VersionKey(ServiceName("hello"), number)
    return release.stage(Archive(tmp_path / "archive"), pack, tmp_path / "versions/hello", version)


def test_a_release_is_read_only_and_knows_what_it_is(tmp_path: Path) -> None:
    done = staged(tmp_path, "one", 1)
    modules = tmp_path / "modules"
    folder = release.release(done, "1.0.0", facts={"era": "modern"}, modules=modules)
    assert folder == tmp_path / "versions/hello/v1.0.0"
    assert os.stat(folder).st_mode & 0o222 == 0  # noqa: PTH116
    assert (folder / "node_modules").readlink() == modules
    assert f'"build": "{done.build}"' in (folder / release.NOTE).read_text()


def test_the_same_build_under_the_same_name_is_left_where_it_is(tmp_path: Path) -> None:
    first = release.release(staged(tmp_path, "one", 1), "1.0.0", facts={})
    inode = first.stat().st_ino
    again = release.release(staged(tmp_path, "one", 2), "1.0.0", facts={})
    assert (again, again.stat().st_ino) == (first, inode)
    assert [path.name for path in first.parent.iterdir()] == ["v1.0.0"]


def test_a_released_folder_that_was_deleted_is_made_again_as_it_was(tmp_path: Path) -> None:
    modules = tmp_path / "envs/e1/node_modules"
    modules.mkdir(parents=True)
    facts = {"env_digest": "e1", "runtime": "node"}
    done = staged(tmp_path, "one", 1)
    folder = release.release(done, "1.0.0", facts=facts, modules=modules)

    def look() -> dict[str, str]:
        return {path.name: path.read_text() if path.is_file() else str(path.readlink()) for path in folder.iterdir()}

    before = look()
    shutil.move(folder, tmp_path / "deleted")
    archive, version = Archive(tmp_path / "archive"), VersionKey(ServiceName("hello"), 1)
    told = facts | {"root": str(folder)}
    release.restore(version, done.build, folder, told, archive=archive, envs=tmp_path / "envs")
    assert look() == before
    assert folder.stat().st_mode & 0o777 == 0o555
    assert [path.name for path in folder.parent.iterdir()] == ["v1.0.0"]


def test_what_a_dead_node_left_under_a_name_is_replaced(tmp_path: Path) -> None:
    release.release(staged(tmp_path, "one", 1), "1.0.0", facts={})
    folder = release.release(staged(tmp_path, "two", 2), "1.0.0", facts={})
    assert (folder / "server.py").read_text() == "two"
    left = staged(tmp_path, "three", 3)
    release.sweep(tmp_path / "versions")
    assert not left.folder.exists()
    assert isinstance(left.build, str)
    assert BuildId(left.build) in Archive(tmp_path / "archive").builds()


# -- environments ----------------


def wheel(folder: Path) -> Path:
    """A distribution of one module, made by hand: no index and no build tool is needed to install it."""
    path = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny.py", "ANSWER = 42\n")
        info = "tiny-1.0.dist-info"
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        archive.writestr(f"{info}/RECORD", "")
    return path


def env_of(folder: Path, envs: Path) -> environment.ServiceEnv:
    return service_env(read_manifest(folder, "hello").inferred, folder, envs, "")


def test_a_script_without_dependencies_runs_in_the_nodes_own_environment(tmp_path: Path) -> None:
    (tmp_path / "server.py").write_text("")
    env = env_of(tmp_path, tmp_path / "envs")
    assert (env.python, env.root, env.steps, env.is_complete) == (sys.executable, None, (), True)


def test_a_stage_finds_the_nodes_libraries_and_none_of_its_secrets(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LD_LIBRARY_PATH", "/opt/lib")
    monkeypatch.setenv("UV_INDEX_URL", "https://user:secret@index")
    (tmp_path / "server.py").write_text("")
    nobody: Any = None  # nothing is started, so nothing has an owner
    place = Place(Workdir(tmp_path / "run"), env_of(tmp_path, tmp_path / "envs"), nobody, "marker", {})
    assert place.environment({})["LD_LIBRARY_PATH"] == "/opt/lib"
    assert "UV_INDEX_URL" not in place.environment({})
    assert "UV_INDEX_URL" in environment.installer_variables()


def test_the_environment_is_named_by_its_dependencies_alone(tmp_path: Path) -> None:
    def digest(requirements: str, body: str) -> str:
        (tmp_path / "server.py").write_text(f"# /// script\n# dependencies = [{requirements}]\n# ///\n{body}")
        return env_of(tmp_path, tmp_path / "envs").digest

    assert digest('"a"', "x = 1") == digest('"a"', "x = 2")
    assert digest('"a"', "x = 1") != digest('"b"', "x = 1")


def test_an_environment_is_made_once_and_a_half_made_one_again(tmp_path: Path) -> None:
    sources, envs = tmp_path / "src", tmp_path / "envs"
    sources.mkdir()
    link = wheel(tmp_path).as_uri()
    (sources / "server.py").write_text(f'# /// script\n# dependencies = ["tiny @ {link}"]\n# ///\n')
    env = env_of(sources, envs)
    wants = read_manifest(sources, "hello").inferred.dependencies
    assert not env.is_complete
    assert env.root is not None
    env.root.mkdir(parents=True)  # a node died while it made this
    variables = {**os.environ, **environment.prepare(env, sources, wants), "UV_OFFLINE": "1"}
    for step in env.steps:
        subprocess.run(step, cwd=sources, env=variables, check=True, timeout=60)
    environment.complete(env, {})
    assert env_of(sources, envs).is_complete
    answer = subprocess.run([env.python, "-c", "import tiny; print(tiny.ANSWER)"], capture_output=True, check=True)
    assert answer.stdout == b"42\n"


def test_an_environment_goes_when_no_version_needs_it_and_nobody_used_it_for_long(tmp_path: Path) -> None:
    envs, now_s = tmp_path / "envs", 1_000_000_000.0
    for name, age_s in (("needed", environment.UNUSED_S + 1), ("old", environment.UNUSED_S + 1), ("recent", 60)):
        (envs / name).mkdir(parents=True)
        (envs / name / environment.COMPLETE).touch()
        os.utime(envs / name / environment.COMPLETE, (now_s - age_s, now_s - age_s))
    release.release(staged(tmp_path, "one", 1), "1.0.0", facts={"env_digest": "needed"})
    referred = release.environments(tmp_path / "versions")
    assert environment.sweep(envs, referred, now_s) == ["old"]
    assert sorted(path.name for path in envs.iterdir()) == ["needed", "recent"]


def test_what_is_passed_to_installers_is_what_they_need(monkeypatch) -> None:
    monkeypatch.setenv("UV_INDEX_URL", "https://index.example")
    monkeypatch.setenv("https_proxy", "http://proxy.example")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hunter2")
    passed = environment.installer_variables()
    assert passed["UV_INDEX_URL"] == "https://index.example"
    assert passed["https_proxy"] == "http://proxy.example"
    assert "AWS_SECRET_ACCESS_KEY" not in passed


def test_a_tool_is_found_beside_the_interpreter_first() -> None:
    assert Path(environment.find_tool("ruff")).parent == Path(sys.executable).parent
    assert environment.find_tool("sh") == shutil.which("sh")


def test_what_a_node_laid_out_and_never_wrote_down_is_swept_and_nothing_else(tmp_path: Path) -> None:
    kept = release.release(staged(tmp_path, "one", 1), "1.0.0", facts={})
    orphan = release.release(staged(tmp_path, "two", 2), "1.1.0", facts={})
    service = kept.parent
    foreign = service / "v9.9.9"
    foreign.mkdir()
    (foreign / "notes.txt").write_text("a person's")
    assert release.sweep_unknown(service.parent, {(service.name, "v1.0.0"), ("other", "v1.1.0")}) == [orphan]
    assert sorted(path.name for path in service.iterdir()) == ["v1.0.0", "v9.9.9"]
