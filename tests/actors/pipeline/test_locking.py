"""Dependencies that are locked by their hashes: installed to the byte, or not at all, with words."""

import hashlib
import zipfile
from pathlib import Path

import pytest
from delivering import Node, server

from henslowe.actors.pipeline.locking import Lock, failure, lock_of
from henslowe.config.inference import Dependencies, DependencyKind, infer


def wheel(folder: Path) -> Path:
    """A distribution of one module, made by hand."""
    path = folder / "tiny-1.0-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("tiny.py", "ANSWER = 42\n")
        for name, text in (
            ("METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n"),
            ("WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
            ("RECORD", ""),
        ):
            archive.writestr(f"tiny-1.0.dist-info/{name}", text)
    return path


@pytest.mark.parametrize(
    ("files", "locked_by"),
    [
        ({"server.py": "", "requirements.txt": "a==1 --hash=sha256:00\n"}, "requirements.txt"),
        ({"server.py": "", "requirements.txt": "a==1 \\\n    --hash=sha256:00\n"}, "requirements.txt"),
        ({"server.py": "", "requirements.txt": "a==1\n"}, None),
        ({"server.py": "# /// script\n# dependencies = ['a']\n# ///\n", "server.py.lock": "x"}, "server.py.lock"),
        ({"server.py": "# /// script\n# dependencies = ['a']\n# ///\n"}, None),
        ({"server.py": "", "pyproject.toml": "[project]\nname = 'x'\n", "uv.lock": "x"}, "uv.lock"),
        (
            {"server.js": "", "package.json": '{"dependencies": {"a": "1"}}', "package-lock.json": "{}"},
            "package-lock.json",
        ),
        ({"server.js": "", "package.json": '{"dependencies": {"a": "1"}}'}, None),
    ],
)
def test_the_lock_is_the_file_that_has_the_hashes(tmp_path: Path, files: dict[str, str], locked_by: str | None) -> None:
    for name, content in files.items():
        (tmp_path / name).write_text(content)
    lock = lock_of(infer(tmp_path).dependencies, tmp_path)
    assert (lock and lock.file) == locked_by
    if lock is not None:
        assert lock.digest == hashlib.sha256((tmp_path / lock.file).read_bytes()).hexdigest()


@pytest.mark.parametrize(
    ("kind", "printed", "words"),
    [
        (
            DependencyKind.UV_LOCK,
            "  cause: Hash mismatch for `six==1.16.0`",
            "six==1.16.0 does not have the hash that the.lock",
        ),
        (DependencyKind.NPM_LOCK, "npm error code EINTEGRITY", "a package does not have the hash that the.lock"),
        (DependencyKind.UV_LOCK, "error: The lockfile at `uv.lock` needs to be updated, but", "the.lock does not fit"),
        (
            DependencyKind.NPM_LOCK,
            "npm error `npm ci` can only install packages when your package.json and package-lock.json are in sync.",
            "the.lock does not fit",
        ),
        (DependencyKind.UV_LOCK, "no space left on device", "uv failed with code 2"),
    ],
)
def test_a_failed_installation_says_what_it_means(kind: DependencyKind, printed: str, words: str) -> None:
    error = failure(Dependencies(kind=kind), Lock("the.lock", ""), "uv", 2, ["resolving", printed])
    assert words in error.message
    assert error.hint
    assert error.details["exit_code"] == 2


async def test_a_tampered_hash_fails_and_the_right_one_is_in_the_facts(
    node: Node, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("UV_OFFLINE", "1")
    path = wheel(tmp_path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    good = f"tiny @ {path.as_uri()} --hash=sha256:{digest}\n"
    source = server(before="import tiny\nassert tiny.ANSWER == 42")
    node.change({"server.py": source, "requirements.txt": good.replace(digest[:8], "00000000")})
    broken = await node.broken()
    assert broken.stage == "deps"
    assert "tiny" in broken.reason
    assert "does not have the hash that requirements.txt expects" in broken.reason
    assert broken.metadata["lock"] == "requirements.txt"
    node.change({"requirements.txt": good})
    built = await node.built()
    assert built.metadata["lock_digest"] == hashlib.sha256(good.encode()).hexdigest()
