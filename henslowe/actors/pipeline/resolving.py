"""Makes the version of a fetched server exact: asks the registry once, when a version of the service is made.

    uvx mcp-server-time              ->  uvx --from mcp-server-time==1.2.3 mcp-server-time
    npx -y @scope/server@^1          ->  npx -y @scope/server@1.4.0

Every instance, restart and rollback of the version then runs the same release. The registry is asked through the tool's
own client, with the settings that the server itself will have, so that nothing is found that it could not fetch, and as
isolated as a stage. A registry that does not answer costs the exactness and never the version: why is said.

Not here: which commands fetch, and what they fetch (`packages`).
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, Final, Protocol

from henslowe.actors.launch import INHERITED, LaunchSpec, server_environment
from henslowe.actors.pipeline.commands import Place, run_command
from henslowe.actors.pipeline.environment import cache_folders, find_tool, is_installers
from henslowe.actors.pipeline.launching import launch_spec
from henslowe.actors.pipeline.output import Line, StageOutput
from henslowe.actors.pipeline.packages import Package, Release, Tool, as_written, compiled, read, viewed
from henslowe.actors.pipeline.preparing import Prepared
from henslowe.actors.pipeline.tools import in_thread
from henslowe.errors import HensloweError, StageFailed

RESOLVE_S: Final = 10.0
"""Longest wait for a registry; it answers within two, and somebody waits for the version."""
_LINES_MAX: Final = 20_000
_BYTES_MAX: Final = 4 << 20
"""Of an answer: some packages have thousands of releases."""
_LINE_BYTES_MAX: Final = 4_096
_WHY_CHARS_MAX: Final = 300
_REFERENCE: Final = re.compile(r"\bsecret:")
_CREDENTIALS: Final = re.compile(r"//[^/\s@]+@")


class Resolver(Protocol):
    """Knows what registries have."""

    async def __call__(self, package: Package) -> Release:
        """The release that the tool would run now.

        Raises:
            HensloweError: Nobody knows.
        """


@dataclass(slots=True, frozen=True)
class Registries:
    """The registries as a server of this launch sees them from `place`."""

    place: Place
    launch: LaunchSpec

    async def __call__(self, package: Package) -> Release:
        """See `Resolver`; ends within `RESOLVE_S`."""
        own = {key: value for key, value in self.launch.env.items() if key in INHERITED or is_installers(key)}
        launch = self.launch.model_copy(update={"env": own})
        src, tmp = self.place.work.src, self.place.work.tmp
        env = server_environment(launch, src, port=0, data=tmp, secrets=self.place.secrets)
        command, given = _question(package, env["PATH"])
        lines: list[Line] = []
        output = StageOutput(lines.extend, lines_max=_LINES_MAX, bytes_max=_BYTES_MAX, line_bytes_max=_LINE_BYTES_MAX)
        try:
            code = await run_command(
                self.place,
                command,
                output,
                timeout_s=RESOLVE_S,
                env=env,
                writable=await in_thread(cache_folders, env),
                # a tool of uv looks at no project, npx looks for the .npmrc where it runs
                cwd=tmp if package.tool is Tool.UVX else src,
                given=given,
            )
        finally:
            output.close()
        told = [text for channel, text in lines if channel == "stdout" and code == 0]
        found = compiled(package.name, told) if package.tool is Tool.UVX else viewed(told)
        if found is None:
            secret = [env[key] for key, value in own.items() if _REFERENCE.search(value) and env[key]]
            raise StageFailed(_said(lines, secret) or f"{package.wanted} was not found")
        return found


def _question(package: Package, path: str) -> tuple[tuple[str, ...], bytes]:
    """What to run, and what it reads."""
    if package.tool is Tool.UVX:
        quiet = ("--quiet", "--no-header", "--no-annotate", "--color", "never")
        # with all it depends on, as uvx does it: the newest release may be one that cannot be installed here
        what = ("--generate-hashes", "--refresh-package", package.name.partition("[")[0])
        return (find_tool("uv"), "pip", "compile", "-", *quiet, *what, *package.asking), f"{package.wanted}\n".encode()
    npm = shutil.which("npm", path=path)
    if npm is None:
        raise StageFailed("npm is not on PATH")
    fields = ("version", "dist.integrity", "dist-tags.latest")
    how = ("--json", "--prefer-online", "--fetch-retries=0", "--loglevel=error", "--no-update-notifier")
    return (npm, "view", package.wanted, *fields, *how, *package.asking), b""


def _said(lines: list[Line], secrets: list[str]) -> str:
    """The complaint of a tool in one line."""
    text = " ".join(" ".join(text.split()) for channel, text in lines if channel == "stderr" and text.strip())
    for secret in secrets:
        text = text.replace(secret, "***")
    return _CREDENTIALS.sub("//***@", text)[:_WHY_CHARS_MAX]


async def made_exact(
    prepared: Prepared,
    place: Place,
    resolver: Resolver | None = None,
    now: Callable[[], float] = time.time,
) -> tuple[Prepared, dict[str, Any]]:
    """The same with an exact command where it can be, and what the version says of it; {} where nothing is fetched.

    Args:
        prepared: Of the run.
        place: Where the registry is asked from.
        resolver: Knows what there is; None for the registries.
        now: Unix time.
    """
    launch = prepared.manifest.launch
    package = read(launch.command)
    if not isinstance(package, Package) or package.version:
        return prepared, as_written(launch.command)
    if package.tool is Tool.NPX and prepared.env.node_modules is not None:
        return prepared, {}  # npx takes what the service has installed, as its lock file says
    resolver = resolver or Registries(place, launch_spec(prepared.manifest, prepared.env))
    try:
        release = await resolver(package)
    except HensloweError as error:
        return prepared, {"exact": False, "why": error.message, "wanted": package.wanted, "at_s": now()}
    exact = launch.model_copy(update={"command": package.at(release.version)})
    manifest = prepared.manifest.model_copy(update={"launch": exact})
    return replace(prepared, manifest=manifest), {
        "exact": True,
        "package": package.named(release.version),
        "wanted": package.wanted,
        "integrity": list(release.integrity),
        "at_s": now(),
    }
