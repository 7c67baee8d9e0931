"""`henslowe token ...`: make, list, rotate and revoke the tokens of a node.

Over the node's socket while it runs; else in its data directory, by the same actor that a node uses, so that a token
can be made before the first start.
"""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from henslowe.cli.client import NodeClient
from henslowe.cli.console import Console, clean, data_options, dim, duration, moment, table
from henslowe.config.node_file import DATA_FOLDER, NODE_FILE, read_node_file
from henslowe.errors import ConfigError

if TYPE_CHECKING:
    from henslowe.transport.access.managed import ManagedTokens
    from henslowe.transport.admin.models.base import Reply

UNITS_S: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
_DURATION: Final = re.compile(r"(\d{1,9})([smhdwy])", re.ASCII)


@click.group("token")
def token_command() -> None:
    """Make, list, rotate and revoke the tokens of a node."""


@token_command.command("create")
@click.argument("name")
@click.option(
    "--scope",
    "scopes",
    multiple=True,
    default=("mcp",),
    show_default=True,
    help="mcp, mcp:SERVICE, admin, admin:read, admin:write, admin:services, admin:tokens; may be repeated.",
)
@click.option("--expires", default="90d", show_default=True, help="How long it is good: 12h, 30d, 1y, or never.")
@data_options
def create_command(*, name: str, scopes: tuple[str, ...], expires: str, console: Console, data_dir: Path) -> None:
    """Make a token called NAME and show it, once: it is kept as a digest only."""
    body: dict[str, Any] = {"name": name, "scopes": [part for scope in scopes for part in scope.split(",")]}
    if expires != "never":
        body["expires_in_s"] = seconds_of(expires, "--expires")
    made = _perform(data_dir, "POST", "/tokens", body)
    _show_once(console, made)


@token_command.command("list")
@data_options
def list_command(*, console: Console, data_dir: Path) -> None:
    """All tokens: what they are good for, until when, and when they were last used."""
    found = _perform(data_dir, "GET", "/tokens")
    now_s = time.time()
    rows = [
        (
            clean(each["name"]),
            " ".join(each["scopes"]),
            each["state"] if each["state"] != "good" else _until(each["expires_s"], now_s),
            moment(each["last_used_s"]) if each["last_used_s"] else dim("never used"),
            clean(f"{each['created_by']}, {moment(each['created_s'])}"),
        )
        for each in found["tokens"]
    ]
    lines = table(rows, ("name", "scopes", "expires", "last used", "made by")) or ["no tokens"]
    console.show(found, lines, "henslowe token create NAME --scope mcp:SERVICE")


@token_command.command("revoke")
@click.argument("token")
@data_options
def revoke_command(*, token: str, console: Console, data_dir: Path) -> None:
    """End a token, by its name or id, now: calls and streams that it opened end, too."""
    done = _perform(data_dir, "POST", f"/tokens/{_part(token)}/revoke")
    console.show(done, [f"{done['name']} is revoked"], "henslowe token list")


@token_command.command("rotate")
@click.argument("token")
@click.option("--grace", default="0s", show_default=True, help="How long the old secret is good, too: 10m, 1h.")
@data_options
def rotate_command(*, token: str, grace: str, console: Console, data_dir: Path) -> None:
    """Give a token a new secret and show it, once."""
    body = {"grace_s": seconds_of(grace, "--grace")}
    _show_once(console, _perform(data_dir, "POST", f"/tokens/{_part(token)}/rotate", body))


def seconds_of(text: str, flag: str) -> float:
    """A duration such as `30d`.

    Raises:
        ConfigError: It is not one.
    """
    found = _DURATION.fullmatch(text.strip())
    if found is None:
        raise ConfigError(
            f"{flag}: expected a number with one of {', '.join(UNITS_S)}, got: {text!r:.40}",
            hint=f"for example {flag} 30d",
        )
    return float(int(found[1]) * UNITS_S[found[2]])


def _show_once(console: Console, made: dict[str, Any]) -> None:
    lines = [made["token"], dim(f"{made['name']}: {' '.join(made['scopes'])}; it is not shown again")]
    console.show(made, lines, "henslowe client snippet (then put it into Authorization: Bearer ...)")


def _until(expires_s: float | None, now_s: float) -> str:
    return "never" if expires_s is None else f"in {duration(expires_s - now_s)}"


def _part(token: str) -> str:
    """A token's name or id as part of a path.

    Raises:
        ConfigError: It is neither; above all not the token itself, which has no business on a command line.
    """
    if not re.fullmatch(r"[a-z0-9][a-z0-9._-]{0,62}", token):
        raise ConfigError("expected the name or id of a token, got: something else", hint="henslowe token list")
    return token


def _perform(data_dir: Path, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
    """Ask the node that runs on the data directory, or do it there when none does."""
    from henslowe.storage import holder

    node = read_node_file(data_dir / NODE_FILE) if holder(data_dir) is not None else None
    if node is not None:
        client = NodeClient(node)
        return client.get(path) if method == "GET" else client.post(path, body)
    return _offline(data_dir, method, path, body or {})


def _offline(data_dir: Path, method: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    """The same in the data directory itself.

    Raises:
        DataDirBusy: A node has just started there.
    """
    import getpass

    from henslowe.actors.access.principal import Principal
    from henslowe.actors.access.scopes import EVERYTHING
    from henslowe.transport.admin.models.tokens import TokensReply
    from henslowe.transport.admin.tokens import minted_reply, token_reply

    who = Principal(f"local:{getpass.getuser()}", EVERYTHING)
    *_, token, verb = ("", *path.split("/"))

    async def work(tokens: ManagedTokens) -> Reply:
        if method == "GET":
            return TokensReply(tokens=tuple(map(token_reply, tokens.rows())))
        if verb == "revoke":
            return token_reply(await tokens.revoke(who, token))
        if verb == "rotate":
            return minted_reply(await tokens.rotate(who, token, body["grace_s"]))
        expires_s = time.time() + body["expires_in_s"] if "expires_in_s" in body else None
        return minted_reply(await tokens.create(who, body["name"], tuple(body["scopes"]), expires_s))

    return asyncio.run(_with_tokens(data_dir, work)).model_dump()


async def _with_tokens(data_dir: Path, work: Callable[[ManagedTokens], Awaitable[Reply]]) -> Reply:
    """Work with the tokens of a data directory, whose lock is held meanwhile."""
    from henslowe.actors import names
    from henslowe.actors.access import TOKENS, AccessBoard, AccessKeeper
    from henslowe.actors.kernel import Scheduler
    from henslowe.config.loading import load
    from henslowe.storage import Store
    from henslowe.transport.access.managed import ManagedTokens

    settings = load(data_dir.parent if data_dir.name == DATA_FOLDER else Path.cwd()).settings
    Scheduler.install()
    store = Store.open(data_dir, settings.name, settings.storage)
    try:
        spec = store.child_spec()
        writer = await spec.actor.start_link(*spec.args)
        keeper = await AccessKeeper.start_link(store, AccessBoard(), name=names.ACCESS)
        assert writer is not None, "neither ignores its start"
        assert keeper is not None, "neither ignores its start"
        try:
            return await work(ManagedTokens(store.table(TOKENS)))
        finally:
            await keeper.stop(block=False)
            await writer.stop(block=False)
    finally:
        store.close(as_node=False)
