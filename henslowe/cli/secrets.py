"""`henslowe secrets ...`: keep what services need and nobody may see. Values go in, and never out.

Through the node's socket while it runs; else in its data directory, so that a secret can be set before the first call.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any

import click

from henslowe.cli.console import Console, clean, data_options, dim, moment, table
from henslowe.cli.keeping import kept
from henslowe.errors import BadRequest, ConfigError
from henslowe.words import counted

VALUE_BYTES_MAX = 32 * 1024
LOOK_S = 0.2
ROTATE_S_MAX = 3600.0
"""Longest wait for a rotation; it goes on by itself."""


@click.group("secrets")
def secrets_command() -> None:
    """Keep what services need and nobody may see."""


@secrets_command.command("set")
@click.argument("name")
@click.option(
    "--from-file",
    type=click.Path(exists=True, dir_okay=False, allow_dash=True, path_type=Path),
    help="Take the value from this file, - for standard input; default: ask for it.",
)
@data_options
def set_command(*, name: str, from_file: Path | None, console: Console, data_dir: Path) -> None:
    """Keep a secret called NAME. Its value is read from a file or asked for, never from the command line.

    One line end behind the value is not part of it. Services refer to it as secret:NAME in env and headers.
    """
    _part(name)
    value = _value(name, from_file)
    with kept(data_dir, make=True) as node:
        known = {each["name"] for each in node.get("/secrets")["secrets"]}
        found = node.post("/secrets", {"name": name, "value": value})
    (mine,) = [each for each in found["secrets"] if each["name"] == name]
    lines = [f"{name} is {'changed' if name in known else 'kept'}"]
    if not known:
        lines.append(dim(f"sealed with the key in {found['key_file']}: keep a copy of it, apart from backups"))
    following = " && ".join(f"henslowe restart {service}" for service in mine["services"])
    console.show(mine, lines, following or f'env = {{ TOKEN = "secret:{name}" }} in henslowe.toml or service.toml')


@secrets_command.command("list")
@data_options
def list_command(*, console: Console, data_dir: Path) -> None:
    """The secrets, without their values."""
    with kept(data_dir) as node:
        found = node.get("/secrets")
    rows = (
        (each["name"], moment(each["changed_s"]), clean(each["by"]), " ".join(each["services"]) or dim("-"))
        for each in found["secrets"]
    )
    lines = table(rows, ("name", "changed", "by", "services")) or ["no secrets"]
    console.show(found, lines, "henslowe secrets set NAME")


@secrets_command.command("remove")
@click.argument("name")
@data_options
def remove_command(*, name: str, console: Console, data_dir: Path) -> None:
    """Remove a secret. Services that were started with it keep it until they are started again."""
    with kept(data_dir) as node:
        users: list[str] = next(
            (each["services"] for each in node.get("/secrets")["secrets"] if each["name"] == name), []
        )
        found = node.post(f"/secrets/{_part(name)}/remove")
    lines = [f"{name} is removed"]
    if users:
        lines.append(f"still referred to by: {' '.join(users)}")
    console.show(found, lines, "henslowe secrets list")


@secrets_command.command("rotate")
@data_options
def rotate_command(*, console: Console, data_dir: Path) -> None:
    """Make a new key, seal everything with it, and forget the old one. May be interrupted: it goes on by itself."""
    with kept(data_dir) as node:
        found = node.post("/secrets/rotate")
        deadline_s = time.monotonic() + ROTATE_S_MAX
        while found["rotating"] and time.monotonic() < deadline_s:
            node.wait(LOOK_S)
            found = node.get("/secrets")
    state = "is going on" if found["rotating"] else f"everything is sealed with key {found['keys'][0]}"
    lines = [state, dim(f"keep a copy of {found['key_file']}, apart from backups; older copies open older backups")]
    console.show(found, lines, "henslowe secrets status")


@secrets_command.command("status")
@data_options
def status_command(*, console: Console, data_dir: Path) -> None:
    """Where the keys are, which one seals, and whether anything is still sealed with another one."""
    with kept(data_dir) as node:
        found = node.get("/secrets")
    console.show(found, _status_lines(found), "henslowe secrets list")


def _status_lines(found: dict[str, Any]) -> list[str]:
    keys = found["keys"]
    older = sum(each["key"] != keys[0] for each in found["secrets"]) if keys else len(found["secrets"])
    lines = [
        f"key file   {found['key_file']} ({found['key_source']})",
        f"keys       {' '.join(keys) or 'none yet: made with the first secret'}",
        f"secrets    {len(found['secrets'])}" + (f", {older} sealed with another key" if older else ""),
    ]
    if found["rotating"]:
        lines.append(f"rotating   {counted(found['rows_done'], 'row')} done")
    return lines


def _value(name: str, source: Path | None) -> str:
    """The value, from where the person said.

    Raises:
        ConfigError: There is no terminal to ask at.
        BadRequest: It is empty, too long or not text.
    """
    if source is None:
        if not sys.stdin.isatty():
            raise ConfigError(
                "expected a terminal to ask at, got none", hint=f"henslowe secrets set {name} --from-file -"
            )
        given = str(click.prompt(name, hide_input=True, err=True)).encode("utf-8", "surrogateescape")
    elif str(source) == "-":
        given = sys.stdin.buffer.read(VALUE_BYTES_MAX + 2)
    else:
        with source.open("rb") as file:
            given = file.read(VALUE_BYTES_MAX + 2)
    given = given.removesuffix(b"\n").removesuffix(b"\r")
    if not given or len(given) > VALUE_BYTES_MAX:
        got = "nothing" if not given else "more"
        raise BadRequest(f"expected a value of 1 to {VALUE_BYTES_MAX} bytes, got: {got}")
    try:
        return given.decode()
    except UnicodeDecodeError as error:
        raise BadRequest(
            "expected a value of text in UTF-8, got: other bytes", hint="encode it: base64 FILE"
        ) from error


def _part(name: str) -> str:
    """A secret's name as part of a path.

    Raises:
        BadRequest: It is none.
    """
    from henslowe.config.references import SECRET_NAME

    if not SECRET_NAME.fullmatch(name):
        raise BadRequest(f"expected a secret's name, got: {name!r:.120}", hint="henslowe secrets list")
    return name
