"""`[[hooks]]` of `service.toml` and `[hooks.NAME]` of `henslowe.toml`: who is told, or asked, of a version's progress.

    [[hooks]]
    on = "promote:before"                 # asked: the version is promoted only if this agrees
    command = ["python", "smoke.py"]
    timeout_s = 60

    [[hooks]]
    on = "rollback:after"                 # told: nothing waits for it
    url = "https://chat.example.org/hooks/deployments"
    secret = "secret:chat-signing"

Not here: when a moment has come and what becomes of the answer (`henslowe.actors.hooks`).
"""

from __future__ import annotations

import ipaddress
from enum import StrEnum
from typing import Annotated, Any, Final, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, field_validator, model_validator

from henslowe.config.references import Referring
from henslowe.config.section import Section

HOOKS_MAX: Final = 32
"""Of one service; the node may have as many."""
HOOK_NAME: Final = r"^[a-z][a-z0-9_-]{0,31}$"


class HookPoint(StrEnum):
    """The moments in a version's life. Those of `GATES` are asked before, all others are told after."""

    BUILD_START = "build:start"
    """A version has a number and its pipeline begins."""
    BUILD_END = "build:end"
    """It is built, checked and archived, and is being started."""
    DEPLOY_START = "deploy:start"
    """Asked before it meets any traffic; refused, it fails."""
    CANARY_START = "canary:start"
    """It takes its first share of the traffic."""
    STEP = "step"
    """Asked before a canary gets a greater share; refused, it keeps the share that it has."""
    PROMOTE_BEFORE = "promote:before"
    """Asked before it serves everybody; refused, a canary stays one."""
    PROMOTE_AFTER = "promote:after"
    """It serves everybody."""
    ROLLBACK_AFTER = "rollback:after"
    """It was taken back. Going back is never asked about."""
    PERMANENT = "permanent"
    """It passed its probation."""
    FAILED = "failed"
    """It was not built, did not start, or was refused."""
    EVENT = "event"
    """Any event of the service's life: all of the above and more."""


GATES: Final = frozenset({HookPoint.DEPLOY_START, HookPoint.STEP, HookPoint.PROMOTE_BEFORE})
"""The moments at which the node waits for the answer, and stays where it is without one."""


class HookBase(Section):
    """What all hooks have: a moment, and a command or a URL."""

    on: HookPoint
    command: tuple[str, ...] = ()
    """A command, as a list or as one line for the shell. It finds the facts as JSON on its standard input, and agrees
    by ending with 0."""
    url: str = ""
    """Where the same JSON is posted; an answer of 2xx agrees."""
    env: dict[str, Referring] = {}
    """Variables of the command. A value may be `secret:NAME`: see `henslowe secrets`."""
    secret: Referring = ""
    """`secret:NAME`, the key with which the requests to `url` are signed."""
    timeout_s: Annotated[float, Field(gt=0, le=3600)] = 30.0
    """Longest time for one answer."""
    attempts: Annotated[int, Field(ge=1, le=20)] = 5
    """Most tries of a `url` that is told something and does not answer; 1 s, 2 s, 4 s and so on apart. One that is
    asked is asked once."""

    @field_validator("command", mode="before")
    @classmethod
    def _line_or_list(cls, value: Any) -> Any:
        if isinstance(value, str):
            return ("/bin/sh", "-c", value) if value.strip() else ()
        return value

    @field_validator("secret")
    @classmethod
    def _by_reference(cls, value: str) -> str:
        if value and not value.startswith("secret:"):
            raise ValueError("expected secret:NAME, as set by `henslowe secrets set NAME`")
        return value

    @model_validator(mode="after")
    def _one_way_to_run(self) -> Self:
        if bool(self.command) == bool(self.url):
            raise ValueError(f"expected a command or a url, got {'both' if self.url else 'neither'}")
        if self.url:
            _check_url(self.url)
        if self.secret and not self.url:
            raise ValueError("expected a secret only beside a url; give it to a command in env")
        if self.env and self.url:
            raise ValueError("expected env only beside a command")
        return self

    @property
    def is_gate(self) -> bool:
        """Whether the node waits for its answer."""
        return self.on in GATES


class Hook(HookBase):
    """One `[[hooks]]` of a `service.toml`."""

    name: Annotated[str, Field(pattern=HOOK_NAME)] = ""
    """For status and events; default: the moment and its place in the file, `promote-before-1`."""


class NodeHook(HookBase):
    """`[hooks.NAME]` of `henslowe.toml`: a hook of the node's own, for services that are developed and declared."""

    services: tuple[str, ...] = ("*",)
    """Which services, as patterns."""


def _network(text: str) -> str:
    try:
        ipaddress.ip_network(text)
    except ValueError as error:
        raise ValueError(f"expected a network such as 10.0.0.0/8, got {text!r}") from error
    return text


Network = Annotated[str, AfterValidator(_network)]


class WebhookSettings(Section):
    """`[webhooks]`: where hooks with a `url` may lead.

    A `service.toml` may name public addresses only; `henslowe.toml` may also name loopback and private ones. Nobody
    may name those at which clouds keep credentials (link-local). `allow` adds networks for both.
    """

    allow: tuple[Network, ...] = ()
    """Networks that may be reached besides: `127.0.0.0/8`, `10.0.0.0/8`."""
    parallel: Annotated[int, Field(ge=1, le=64)] = 4
    """Most hooks that run at once, asked and told ones apart."""


def named(hooks: tuple[Hook, ...]) -> tuple[Hook, ...]:
    """The hooks of one `service.toml`, each with a name.

    Raises:
        ValueError: Two have the same name, or there are too many.
    """
    if len(hooks) > HOOKS_MAX:
        raise ValueError(f"expected at most {HOOKS_MAX} hooks, got {len(hooks)}")
    found: dict[str, Hook] = {}
    for place, hook in enumerate(hooks, start=1):
        name = hook.name or f"{hook.on.value.replace(':', '-')}-{place}"
        if name in found:
            raise ValueError(f"expected hooks of different names, got {name!r} twice")
        found[name] = hook.model_copy(update={"name": name})
    return tuple(found.values())


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        host, _port = parts.hostname, parts.port
    except ValueError:
        host, parts = None, urlsplit("")
    if parts.scheme not in ("http", "https") or not host:
        raise ValueError(f"expected an http or https address, got {url!r:.200}")
    if parts.username is not None:
        raise ValueError("expected an address without a password; sign requests with secret")
