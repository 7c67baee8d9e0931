"""Commands that fetch what they run (`uvx PACKAGE`, `npx PACKAGE`), read and written again with an exact version. Pure.

Only forms that are understood are written again; any other is left alone, with the reason in words. What a registry has
is asked elsewhere (`resolving`). The dependencies of the package itself, and what `--with` adds, are not held by this.

Source: `uv tool run --help`, uv's guide "Using tools"; `npm help exec`, npm-package-arg's forms of a spec.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

_UVX_FLAGS: Final = frozenset({"-q", "--quiet", "-v", "--verbose", "--isolated", "--no-progress", "--no-env-file"})
_UVX_VALUES: Final = frozenset({"--with", "-w", "--env-file"})
_UVX_ASKING_FLAGS: Final = frozenset({"--offline", "--no-config", "--native-tls", "--no-index"})
_UVX_ASKING_VALUES: Final = frozenset({
    "--python", "--index", "--default-index", "--index-url", "--extra-index-url", "--find-links",
    "--prerelease", "--resolution", "--index-strategy", "--keyring-provider", "--exclude-newer",
})  # fmt: skip
"""Options that decide what is found; the registry is asked with the same."""
_UVX_SHORT: Final = {"-p": "--python", "-i": "--index-url", "-f": "--find-links"}
_NPX_FLAGS: Final = frozenset({"-y", "--yes", "--no", "-q", "--quiet", "-s", "--silent"})
_NPX_ASKING_FLAGS: Final = frozenset({"--prefer-online", "--prefer-offline", "--offline"})
_NPX_ASKING_VALUES: Final = frozenset({"--registry"})

_UV_AT: Final = re.compile(r"([A-Za-z0-9][\w.-]*(?:\[[\w.,\s-]*\])?)@([^/:@\s]+)")
_PYTHON: Final = re.compile(r"(python|pypy|cpython)[\d.w]*", re.IGNORECASE)
_NPM: Final = re.compile(r"((?:@[\w~-][\w.~-]*/)?[\w~-][\w.~-]*)(?:@([^/:]+))?")
_SEMVER: Final = re.compile(r"(\d+)\.(\d+)\.(\d+)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_COMPILED: Final = re.compile(r"([A-Za-z0-9][\w.-]*)(?:\[[^\]]*\])?==([^\s;\\]+)")
_HASH: Final = re.compile(r"--hash=(\S+)")
HASHES_MAX: Final = 32
"""Kept of a release that has a file for each platform."""


class Tool(StrEnum):
    """What fetches and runs."""

    UVX = "uvx"
    NPX = "npx"


@dataclass(slots=True, frozen=True)
class Package:
    """What a command fetches: `before + [spec] + after`."""

    tool: Tool
    name: str
    """With its extras."""
    wanted: str
    """As the registry is asked for it."""
    version: str
    """Where the command names an exact one, else ""."""
    before: tuple[str, ...]
    after: tuple[str, ...]
    prefix: str = ""
    """In the word of the spec before it: `--from=`."""
    program: str = ""
    """What the package runs, where the command does not say it by itself."""
    asking: tuple[str, ...] = ()
    """Options for asking the registry."""

    def named(self, version: str) -> str:
        """The package at a version, as the registry's people write it."""
        return f"{self.name}=={version}" if self.tool is Tool.UVX else f"{self.name}@{version}"

    def at(self, version: str) -> tuple[str, ...]:
        """The command that runs exactly this version."""
        spec = f"{self.prefix}{self.named(version)}"
        if self.program:
            return (*self.before, "--from", spec, self.program, *self.after)
        return (*self.before, spec, *self.after)


@dataclass(slots=True, frozen=True)
class Unread:
    """A command that fetches, in a form that is left alone."""

    why: str


@dataclass(slots=True, frozen=True)
class Release:
    """What a registry has."""

    version: str
    integrity: tuple[str, ...] = ()


def read(command: Sequence[str]) -> Package | Unread | None:
    """What a command fetches; None for one that runs what is there."""
    words = tuple(command)
    program = words[0].rpartition("/")[2] if words else ""
    if program == "uvx":
        return _read_uvx(words, 1)
    if program == "uv" and words[1:3] == ("tool", "run"):
        return _read_uvx(words, 3)
    if program == "npx":
        return _read_npx(words)
    return None


def _read_uvx(words: tuple[str, ...], start: int) -> Package | Unread:
    asking: list[str] = []
    source, prefix, at = "", "", start
    place = -1
    while at < len(words) and words[at].startswith("-") and words[at] != "--":
        option, equals, value = words[at].partition("=")
        option = _UVX_SHORT.get(option, option)
        if option in _UVX_ASKING_FLAGS and not equals:
            asking.append(option)
        elif option == "--from" or option in _UVX_VALUES or option in _UVX_ASKING_VALUES:
            if not equals:
                at += 1
                value = words[at] if at < len(words) else ""
            if option == "--from":
                source, prefix, place = value, "--from=" if equals else "", at
            elif option in _UVX_ASKING_VALUES:
                asking.append(f"{option}={value}")
        elif option not in _UVX_FLAGS or equals:
            return Unread(f"the option {option} is not known here")
        at += 1
    if at < len(words) and words[at] == "--":
        return Unread("the option -- is not known here")
    if at >= len(words):
        return Unread("it names nothing to run")
    if place >= 0:
        found = _requirement(source)
    elif _PYTHON.fullmatch(words[at].partition("@")[0]):
        return Unread(f"{words[at]} is an interpreter")
    else:
        place, found = at, _requirement(words[at])
    if isinstance(found, Unread):
        return found
    name, wanted, version = found
    program = "" if source else name.partition("[")[0]
    return Package(
        Tool.UVX, name, wanted, version, words[:place], words[place + 1 :], prefix, program, tuple(asking)
    )  # fmt: skip


def _requirement(spec: str) -> tuple[str, str, str] | Unread:
    """Name with extras, what to ask for, and the version if it is exact."""
    if (found := _UV_AT.fullmatch(spec)) is not None:
        name, version = found.groups()
        if version == "latest":
            return name, name, ""
        try:
            Version(version)
        except InvalidVersion:
            return Unread(f"expected a version after @, got {version[:100]!r}")
        return name, f"{name}=={version}", version
    try:
        requirement = Requirement(spec)
    except InvalidRequirement:
        return Unread(_elsewhere(spec))
    if requirement.url or requirement.marker:
        return Unread(_elsewhere(spec))
    name = requirement.name + (f"[{','.join(sorted(requirement.extras))}]" if requirement.extras else "")
    clauses = list(requirement.specifier)
    exact = len(clauses) == 1 and clauses[0].operator in ("==", "===") and not clauses[0].version.endswith(".*")
    return name, spec, clauses[0].version if exact else ""


def _read_npx(words: tuple[str, ...]) -> Package | Unread:
    asking: list[str] = []
    place, prefix, at = -1, "", 1
    while at < len(words) and words[at].startswith("-") and words[at] != "--":
        option, equals, value = words[at].partition("=")
        if option in _NPX_ASKING_FLAGS and not equals:
            asking.append(option)
        elif option in ("-p", "--package") or option in _NPX_ASKING_VALUES:
            if not equals:
                at += 1
                value = words[at] if at < len(words) else ""
            if option in _NPX_ASKING_VALUES:
                asking.append(f"{option}={value}")
            elif place >= 0:
                return Unread("it names several packages")
            else:
                place, prefix = at, f"{option}=" if equals else ""
        elif option not in _NPX_FLAGS or equals:
            return Unread(f"the option {option} is not known here")
        at += 1
    at += at < len(words) and words[at] == "--"
    if at >= len(words):
        return Unread("it names nothing to run")
    place = at if place < 0 else place
    if place >= len(words):
        return Unread("it names nothing to run")
    spec = words[place].removeprefix(prefix)
    found = _NPM.fullmatch(spec)
    if found is None:
        return Unread(_elsewhere(spec))
    name, wanted = found[1], (found[2] or "").strip()
    exact = wanted.removeprefix("=").removeprefix("v")
    version = exact if _SEMVER.fullmatch(exact) else ""
    return Package(
        Tool.NPX, name, f"{name}@{wanted}" if wanted else name, version, words[:place], words[place + 1 :], prefix,
        asking=tuple(asking),
    )  # fmt: skip


def _elsewhere(spec: str) -> str:
    shown = "an address with credentials" if "@" in spec and "://" in spec else repr(spec[:100])
    return f"expected a package of a registry, got {shown}"


def as_written(command: Sequence[str]) -> dict[str, Any]:
    """What a version says of a command that is run as it is written; {} where nothing is fetched."""
    found = read(command)
    if found is None:
        return {}
    if isinstance(found, Unread):
        return {"exact": False, "why": found.why}
    if found.version:
        return {"exact": True, "package": found.named(found.version), "integrity": []}
    return {
        "exact": False,
        "why": f"it is run as it is written; write {found.named('VERSION')}",
        "wanted": found.wanted,
    }


# -- what registries answer ----------------


def compiled(name: str, lines: Iterable[str]) -> Release | None:
    """The release of `name` in the answer of `uv pip compile --generate-hashes`, None if there is none."""
    wanted, version = canonicalize_name(name.partition("[")[0]), ""
    hashes: list[str] = []
    for line in lines:
        if (found := _COMPILED.match(line)) is not None:
            if version:
                break
            version = found[2] if canonicalize_name(found[1]) == wanted else ""
        if version:
            hashes += _HASH.findall(line)
    return Release(version, tuple(hashes[:HASHES_MAX])) if version else None


def viewed(lines: Iterable[str]) -> Release | None:
    """The release in the answer of `npm view --json` that `npx` would take, None if there is none.

    Of several that fit a range, npm takes the one with the tag `latest` if it is among them, else the highest; one
    before its release only where there is no other.
    """
    try:
        answer = json.loads("\n".join(lines))
    except ValueError:
        return None
    found = [each for each in (answer if isinstance(answer, list) else [answer]) if _is_release(each)]
    if not found:
        return None
    best = max(found, key=lambda each: (each["version"] == each.get("dist-tags.latest"), _order(each["version"])))
    integrity = best.get("dist.integrity")
    return Release(best["version"], (integrity,) if isinstance(integrity, str) else ())


def _is_release(each: Any) -> bool:
    return isinstance(each, dict) and isinstance(each.get("version"), str) and bool(_SEMVER.fullmatch(each["version"]))


def _order(version: str) -> tuple[Any, ...]:
    found = _SEMVER.fullmatch(version)
    assert found is not None
    before = (found[4] or "").removeprefix("-")
    parts = tuple((0, int(part), "") if part.isdecimal() else (1, 0, part) for part in before.split("."))
    return (not before, *map(int, found.groups()[:3]), parts)
