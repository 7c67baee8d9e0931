"""Versions as people write them, made into semantic versions.

`pyproject.toml` follows PEP 440 and `package.json` semver; a version machine that orders builds needs one of the two.
"""

from __future__ import annotations

import re

from packaging.version import InvalidVersion, Version

_SEMVER = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(-[0-9A-Za-z.-]+)?(\+[0-9A-Za-z.-]+)?")
_PRE = {"a": "alpha", "b": "beta", "rc": "rc"}


def as_semver(text: str) -> str | None:
    """`text` itself when it is a semantic version, its translation when it follows PEP 440, else None."""
    text = text.strip()
    if _SEMVER.fullmatch(text):
        return text
    try:
        version = Version(text)
    except InvalidVersion:
        return None
    core = f"{version.major}.{version.minor}.{version.micro}"
    tags = []
    if version.pre is not None:
        tags.append(f"{_PRE[version.pre[0]]}.{version.pre[1]}")
    if version.dev is not None:
        tags.append(f"dev.{version.dev}")
    build = [] if version.post is None else [f"post.{version.post}"]
    if version.local:
        build.append(version.local)
    return core + ("-" + ".".join(tags) if tags else "") + ("+" + ".".join(build) if build else "")
