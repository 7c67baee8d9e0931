"""`henslowe doctor`: what a node needs of this machine, checked one by one, each with the fix.

`fail` means that a node cannot work here (exit code 4); `warn` that some part of it cannot.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from enum import StrEnum
from pathlib import Path
from typing import Final

import click

from henslowe.cli.console import Console, json_option, table
from henslowe.config.listen import check_listen
from henslowe.config.loading import load
from henslowe.config.node_file import DATA_FOLDER, NODE_FILE, admin_socket, read_node_file
from henslowe.config.settings import Settings
from henslowe.errors import ConfigError, HensloweError

UNHEALTHY: Final = 4
WATCHES_MIN: Final = 65_536
"""A workspace with a few node_modules beside the ignored ones stays below this."""
INSTANCES_MIN: Final = 128
DISK_FAIL_BYTES: Final = 100 * 1024**2
DISK_WARN_BYTES: Final = 1024**3
NODE_MAJOR_MIN: Final = 20


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(slots=True, frozen=True)
class Finding:
    """One line of the screen."""

    name: str
    level: Level
    detail: str
    fix: str = ""


@click.command("doctor")
@click.argument("workspace", type=click.Path(path_type=Path), required=False)
@json_option
def doctor_command(*, workspace: Path | None, console: Console) -> None:
    """Check what a node needs on this machine. Exits with 4 when something must be fixed."""
    findings = list(examine(workspace))
    healthy = all(each.level is not Level.FAIL for each in findings)
    colours = {Level.OK: "green", Level.WARN: "yellow", Level.FAIL: "red"}
    rows = [
        (
            click.style(f"{each.level:<4}", fg=colours[each.level]),
            each.name,
            f"{each.detail}; {each.fix}".rstrip("; "),
        )
        for each in findings
    ]
    running = any(each.name == "lock" for each in findings)
    following = "henslowe status" if running else "henslowe up"
    if not healthy:
        following = "fix what failed, then henslowe doctor"
    console.show({"ok": healthy, "checks": [asdict(each) for each in findings]}, table(rows), following)
    raise SystemExit(0 if healthy else UNHEALTHY)


def examine(workspace: Path | None) -> Iterator[Finding]:
    """All findings, in the order in which a person should fix them."""
    yield python_version(sys.version_info[:3])
    yield program("uv", "--version", "builds Python services", "pip install uv")
    yield node_program()
    yield program("npm", "--version", "installs Node services", "install Node.js 20 or newer")
    yield inotify("max_user_watches", WATCHES_MIN)
    yield inotify("max_user_instances", INSTANCES_MIN)
    try:
        settings = load(workspace).settings
    except ConfigError as error:
        yield Finding("config", Level.FAIL, error.message, error.hint)
        return
    yield Finding("config", Level.OK, "valid")
    yield from extensions(settings)
    data_dir = data_in_use(settings)
    yield disk(data_dir)
    yield writable(data_dir)
    yield from node_at_home(settings, data_dir)


def python_version(version: tuple[int, int, int]) -> Finding:
    """Python 3.11 or newer."""
    said = ".".join(map(str, version))
    if version < (3, 11):
        return Finding("python", Level.FAIL, f"{said} is too old", "use Python 3.11 or newer")
    return Finding("python", Level.OK, said)


def program(name: str, flag: str, purpose: str, fix: str) -> Finding:
    """A program that some services need; found beside this Python or on the PATH."""
    path = shutil.which(name, path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if path is None:
        return Finding(name, Level.WARN, f"not found; {purpose}", fix)
    try:
        done = subprocess.run([path, flag], capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError) as error:
        return Finding(name, Level.WARN, f"{path} does not run: {error}", fix)
    return Finding(name, Level.OK, done.stdout.strip().partition("\n")[0])


def node_program() -> Finding:
    """Node.js, of a version that MCP servers of today run on."""
    fix = f"install Node.js {NODE_MAJOR_MIN} or newer"
    found = replace(program("node", "--version", "runs Node services", fix), name="node.js")
    major = found.detail.removeprefix("v").partition(".")[0]
    if found.level is Level.OK and major.isdigit() and int(major) < NODE_MAJOR_MIN:
        return Finding("node.js", Level.WARN, f"{found.detail} is old", fix)
    return found


def inotify(name: str, least: int, root: Path = Path("/proc/sys/fs/inotify")) -> Finding:
    """A kernel limit of the file watcher; below it the node falls back to polling."""
    try:
        value = int((root / name).read_text())
    except (OSError, ValueError):
        return Finding(
            f"inotify {name}", Level.WARN, "cannot be read; the watcher will poll", "run on Linux with /proc"
        )
    if value < least:
        return Finding(f"inotify {name}", Level.WARN, f"{value} is low", f"run: sudo sysctl fs.inotify.{name}={least}")
    return Finding(f"inotify {name}", Level.OK, str(value))


def extensions(settings: Settings) -> Iterator[Finding]:
    """What is installed for the node beside it, and what it will refuse; only a node that starts imports them."""
    from henslowe.extensions.finding import find

    for found in find(settings.modules.disabled):
        package = f"{found.package} {found.package_version}".strip()
        said = f"{found.kind}, from {package or found.entry.value}"
        if found.name in settings.modules.disabled or "*" in settings.modules.disabled:
            yield Finding(f"extension {found.name}", Level.OK, f"{said}; disabled")
        elif found.refused:
            yield Finding(f"extension {found.name}", Level.WARN, f"{said}; refused", found.refused)
        else:
            yield Finding(f"extension {found.name}", Level.OK, said)


def disk(data_dir: Path, usage: Callable[[Path], int] = lambda path: shutil.disk_usage(path).free) -> Finding:
    """Free space where the data directory is or will be."""
    free = usage(_existing(data_dir))
    said = f"{free / 1024**3:.1f} GiB free for {data_dir}"
    if free < DISK_WARN_BYTES:
        level = Level.FAIL if free < DISK_FAIL_BYTES else Level.WARN
        return Finding("disk", level, said, "free some space, or choose another place with --data")
    return Finding("disk", Level.OK, said)


def writable(data_dir: Path) -> Finding:
    """Whether a node may write there."""
    place = _existing(data_dir)
    if place.is_dir() and os.access(place, os.W_OK | os.X_OK):
        short = "" if admin_socket(data_dir) else "; its path is too long for a socket: the CLI will use TCP"
        return Finding("data directory", Level.OK, f"{data_dir}{short}")
    return Finding("data directory", Level.FAIL, f"{place} is not a writable folder", "change its mode, or use --data")


def data_in_use(settings: Settings) -> Path:
    """The data directory of the workspace's running node, which a flag may have put elsewhere; else the settings'."""
    from henslowe.storage import holder

    with contextlib.suppress(ConfigError):  # a file that cannot be read is found again below, with its fix
        announced = read_node_file(settings.workspace / DATA_FOLDER / NODE_FILE)
        if announced is not None and holder(Path(announced.data)) is not None:
            return Path(announced.data)
    return settings.data_dir


def node_at_home(settings: Settings, data_dir: Path) -> Iterator[Finding]:
    """The running node, if there is one: its lock, and whether it answers. Else whether the port is free."""
    from henslowe.storage import holder

    held = holder(data_dir) if data_dir.is_dir() else None
    if held is None:
        yield Finding("node", Level.OK, "not running")
        yield port_free(settings)
        return
    yield Finding("lock", Level.OK, f"held by process {held.pid}")
    yield answering(data_dir, held.pid)


def answering(data_dir: Path, pid: int) -> Finding:
    """Whether the node that holds the lock answers."""
    from henslowe.cli.client import NodeClient

    try:
        node = read_node_file(data_dir / NODE_FILE)
        if node is None:
            return Finding("node", Level.WARN, f"process {pid} has not announced itself", "wait, or look at its log")
        reply = NodeClient(node, timeout_s=5.0).get("/status")
    except HensloweError as error:
        return Finding("node", Level.FAIL, error.message, error.hint)
    if not reply["health"]["ok"]:
        bad = ", ".join(check["name"] for check in reply["health"]["checks"] if not check["ok"])
        return Finding("node", Level.FAIL, f"answers at {node.url}, unhealthy: {bad}", "henslowe status")
    return Finding("node", Level.OK, f"answers at {node.url}")


def port_free(settings: Settings) -> Finding:
    """Whether the address to listen on can be taken."""
    address = check_listen(settings)
    try:
        family, kind, proto, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, kind, proto) as sock:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind(where)
    except OSError as error:
        return Finding("port", Level.FAIL, f"{address}: {error.strerror or error}", "choose another with --listen")
    return Finding("port", Level.OK, f"{address} is free")


def _existing(path: Path) -> Path:
    """The path, or its closest ancestor that exists."""
    return next((each for each in (path, *path.parents) if each.exists()), Path("/"))
