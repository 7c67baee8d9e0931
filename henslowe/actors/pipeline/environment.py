"""The environment that a service's dependencies need: made once per set of dependencies, shared by its versions.

    <data>/envs/<digest>/          a virtual environment (uv), or a folder with node_modules (npm)
    <data>/envs/<digest>/.complete written last: an environment without it is thrown away and made again

A lone script without dependencies, and any service without named ones, uses the node's interpreter as it is.
The digest covers everything that decides what is installed: the interpreter, the platform, the requirement lines and
the content of lock files.

Not here: running the steps (`run` does, as the stage `deps`).
"""

from __future__ import annotations

import hashlib
import json
import os
import platform
import shutil
import sys
import sysconfig
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from packaging.specifiers import InvalidSpecifier, SpecifierSet

from henslowe.actors.pipeline.locking import Lock, lock_of
from henslowe.config.inference import Dependencies, DependencyKind, Inferred, Runtime
from henslowe.errors import ManifestError

COMPLETE: Final = ".complete"
UNUSED_S: Final = 7 * 24 * 3600.0
"""An environment that no laid-out version refers to is kept this long after its last use: people go back and forth."""
_FETCHERS: Final = frozenset({"uvx", "uv", "npx", "npm", "bunx", "pnpm"})
_PASSED_ON: Final = frozenset({
    "HOME", "USER", "XDG_CACHE_HOME", "XDG_CONFIG_HOME",
    "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS",
})  # fmt: skip
_PASSED_ON_PREFIXES: Final = ("UV_", "PIP_", "npm_config_", "NPM_CONFIG_")


@dataclass(slots=True, frozen=True)
class ServiceEnv:
    """Where a service's interpreter and tools are.

    `steps` make it: commands to run in the copied sources, in order; none when there is nothing to make.
    """

    digest: str
    python: str
    root: Path | None = None
    """None: the node's own interpreter, nothing to install."""
    node_modules: Path | None = None
    steps: tuple[tuple[str, ...], ...] = ()
    lock: Lock | None = None
    """The file that locks every dependency with its hash; None where there is none."""

    @property
    def path(self) -> str:
        """PATH for stages and servers: the environment first, then the node's own tools."""
        folders = [os.path.dirname(self.python), os.path.dirname(sys.executable)]
        if self.node_modules is not None:
            folders.insert(0, str(self.node_modules / ".bin"))
        folders += os.environ.get("PATH", os.defpath).split(os.pathsep)
        return os.pathsep.join(dict.fromkeys(folder for folder in folders if folder))

    @property
    def is_complete(self) -> bool:
        """Whether there is nothing left to make."""
        return self.root is None or (self.root / COMPLETE).exists()


def service_env(inferred: Inferred, folder: Path, envs: Path, interpreter: str) -> ServiceEnv:
    """The environment for the sources in `folder`; nothing is made yet. `interpreter` is "" for the node's own.

    Raises:
        ManifestError: `requires-python` is not a version specifier, or a tool to install with is missing.
    """
    python = interpreter or sys.executable
    wants = inferred.dependencies
    if wants.kind is DependencyKind.NONE:
        return ServiceEnv(digest=_digest(identity_of(python), _site_packages_age(python)), python=python)
    contents = {name: _sha256(folder / name) for name in wants.files}
    lock = lock_of(wants, folder)
    if inferred.runtime is Runtime.NODE:
        digest = _digest("npm", identity_of("node"), contents)
        root = envs / digest
        return ServiceEnv(digest, python, root, root / "node_modules", _npm_steps(wants, root), lock)
    target = _target_python(python, wants.python)
    digest = _digest("uv", target, identity_of(target), wants.model_dump(mode="json"), contents, inferred.has_tests)
    root = envs / digest
    own = str(root / "bin" / "python")
    steps = _uv_steps(wants, root, target, lock, tests=inferred.has_tests)
    return ServiceEnv(digest, own, root, None, steps, lock)


def identity_of(program: str) -> str:
    """What tells one installation of a program from another, without running it; the name itself when not found."""
    found = shutil.which(program)
    if found is None:
        return program
    status = os.stat(found)  # noqa: PTH116 (a string all the way)
    return f"{os.path.realpath(found)}:{status.st_size}:{status.st_mtime_ns}"


def find_tool(name: str) -> str:
    """A tool that came with the node (uv, ruff): beside its interpreter, else on PATH.

    Raises:
        ManifestError: It is nowhere.
    """
    beside = Path(sys.executable).with_name(name)
    found = str(beside) if beside.exists() else shutil.which(name)
    if found is None:
        raise ManifestError(f"cannot find {name}: it is neither beside {sys.executable} nor on PATH",
                            hint=f"pip install {name}")  # fmt: skip
    return found


def installer_variables() -> dict[str, str]:
    """What package managers need of the node's environment: registries, caches, proxies and certificates."""
    return {
        key: value
        for key, value in os.environ.items()
        if key.upper() in _PASSED_ON or key.startswith(_PASSED_ON_PREFIXES)
    }


def installer_folders(env: ServiceEnv, variables: Mapping[str, str]) -> list[Path]:
    """What an installation writes: the environment, and the package managers' caches. Blocking."""
    assert env.root is not None
    env.root.mkdir(parents=True, exist_ok=True)
    return [env.root, *cache_folders(variables)]


def is_installers(variable: str) -> bool:
    """Whether a variable is a setting of a package manager."""
    return variable.startswith(_PASSED_ON_PREFIXES)


def fetches(program: str) -> bool:
    """Whether a launcher fetches what it runs, and so writes into the package managers' caches."""
    return program.rpartition("/")[2] in _FETCHERS


def cache_folders(variables: Mapping[str, str]) -> list[Path]:
    """The package managers' caches, which are made. Blocking."""
    home = Path(variables.get("HOME", "")) if variables.get("HOME") else Path.home()
    cache = Path(variables.get("XDG_CACHE_HOME") or home / ".cache")
    named = (variables.get(name) for name in ("UV_CACHE_DIR", "PIP_CACHE_DIR", "npm_config_cache", "NPM_CONFIG_CACHE"))
    # uv's own interpreters are there
    folders = [cache / "uv", cache / "pip", home / ".npm", home / ".local/share/uv"]
    folders += [Path(name) for name in named if name]
    for folder in folders:
        with suppress(OSError):
            folder.mkdir(parents=True, exist_ok=True)
    return [folder for folder in folders if folder.is_dir()]


def _uv_steps(
    wants: Dependencies, root: Path, python: str, lock: Lock | None, *, tests: bool
) -> tuple[tuple[str, ...], ...]:
    uv = find_tool("uv")
    own = str(root / "bin" / "python")
    make = (uv, "venv", "--quiet", "--python", python, str(root))
    # bytecode at once: an instance must not compile its libraries at each start
    install = (uv, "pip", "install", "--quiet", "--compile-bytecode", "--python", own)
    test_tools = ((*install, "pytest"),) if tests else ()
    if wants.kind is DependencyKind.UV_LOCK:
        sync = (uv, "sync", "--quiet", "--locked", "--no-install-project", "--compile-bytecode", "--inexact")
        return (make, (*sync, "--python", own), *test_tools)
    if wants.kind is DependencyKind.PEP_723 and lock is not None:
        exported = str(root / "locked.txt")
        export = (
            uv,
            "export",
            "--quiet",
            "--script",
            "server.py",
            "--locked",
            "--no-header",
            "--output-file",
            exported,
        )
        return (make, export, (*install, "--require-hashes", "-r", exported), *test_tools)
    arguments = list(wants.requirements)
    if lock is not None:
        arguments.append("--require-hashes")
    if wants.kind is DependencyKind.REQUIREMENTS:
        arguments += ["-r", wants.files[0]]
    for group in wants.groups:
        arguments += ["--group", group]
    return (make, (*install, *arguments), *test_tools)


def _npm_steps(wants: Dependencies, root: Path) -> tuple[tuple[str, ...], ...]:
    # npm tries again after 10 s and a minute, also for a file that is not what was locked; somebody waits for this.
    patience = ("--fetch-retry-mintimeout=1000", "--fetch-retry-factor=2")
    quiet = ("--no-audit", "--no-fund", "--loglevel=error", *patience, "--prefix", str(root))
    return (("npm", "ci" if wants.kind is DependencyKind.NPM_LOCK else "install", *quiet),)


def prepare(env: ServiceEnv, folder: Path, wants: Dependencies) -> dict[str, str]:
    """Clear the place where `steps` will work, and give the variables they need. Blocking."""
    assert env.root is not None
    shutil.rmtree(env.root, ignore_errors=True)
    env.root.parent.mkdir(parents=True, exist_ok=True)
    variables = installer_variables()
    if env.node_modules is not None:
        env.root.mkdir()
        for name in wants.files:
            shutil.copyfile(folder / name, env.root / name)
    else:
        variables["UV_PROJECT_ENVIRONMENT"] = str(env.root)
        variables["VIRTUAL_ENV"] = str(env.root)
    return variables


def complete(env: ServiceEnv, sources: Mapping[str, str]) -> None:
    """Note that all steps have succeeded. Blocking."""
    assert env.root is not None
    if env.node_modules is not None:
        env.node_modules.mkdir(exist_ok=True)  # npm makes none for an empty list
    (env.root / COMPLETE).write_text(json.dumps({"digest": env.digest, "sources": dict(sources)}))


def touch(env: ServiceEnv) -> None:
    """Note that an environment was used now. Blocking."""
    if env.root is not None:
        with suppress(OSError):
            os.utime(env.root / COMPLETE)


def sweep(envs: Path, referred: Collection[str], now_s: float) -> list[str]:
    """Remove environments that are in nobody's use; their digests. Blocking.

    Args:
        envs: Where they are.
        referred: Digests of those that a laid-out version needs.
        now_s: Unix time.
    """
    removed = []
    for root in sorted(envs.iterdir()) if envs.is_dir() else ():
        mark = root / COMPLETE
        used_s = (mark if mark.exists() else root).stat().st_mtime
        if root.name not in referred and now_s - used_s > UNUSED_S:
            shutil.rmtree(root, ignore_errors=True)
            removed.append(root.name)
    return removed


def _target_python(interpreter: str, requires: str) -> str:
    """The interpreter, unless the service wants another Python: then uv finds or fetches one."""
    if not requires or interpreter != sys.executable:
        return interpreter
    try:
        fits = SpecifierSet(requires).contains(platform.python_version(), prereleases=True)
    except InvalidSpecifier as error:
        raise ManifestError(
            f"requires-python: expected a version specifier such as >=3.11, got {requires!r}", key="requires-python"
        ) from error
    return interpreter if fits else requires


def _site_packages_age(python: str) -> int:
    """Changes when something is installed into the node's own environment, which such a service uses."""
    if python != sys.executable:
        return 0
    try:
        return os.stat(sysconfig.get_path("purelib")).st_mtime_ns  # noqa: PTH116
    except OSError:
        return 0


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _digest(*parts: object) -> str:
    text = json.dumps([sys.platform, platform.machine(), *parts], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()
