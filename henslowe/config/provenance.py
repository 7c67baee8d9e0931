"""Where each value of a node's settings came from, so that an error and `henslowe config show` can name the place.

Data only; `henslowe.config.loading` fills it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from pydantic import BaseModel

from henslowe.config.settings import Settings


class Source(StrEnum):
    """The four places a value can come from; a later one wins."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    FLAG = "flag"


@dataclass(slots=True, frozen=True)
class Origin:
    """One place: the source, and within it the line, the variable or the flag."""

    source: Source
    where: str = ""
    """`henslowe.toml:12`, `HENSLOWE_LISTEN` or `--listen`; "" for a default."""

    def __str__(self) -> str:
        return self.where or self.source.value


BY_DEFAULT: Final = Origin(Source.DEFAULT)


@dataclass(slots=True, frozen=True)
class Row:
    """One value with its dotted key and its origin."""

    key: str
    value: Any
    origin: Origin

    @property
    def secret(self) -> bool:
        """Whether the value may be one: variables and headers of services carry keys and tokens."""
        parts = self.key.split(".")
        if self.key == "access.oauth.introspection_authorization":
            return bool(self.value)
        return len(parts) > 3 and parts[0] == "services" and parts[2] in ("env", "headers")

    @property
    def public_value(self) -> Any:
        """The value as it may be shown: JSON-serialisable, a secret as `***`."""
        if self.secret:
            return "***"
        return str(self.value) if isinstance(self.value, Path) else self.value


@dataclass(slots=True, frozen=True)
class Loaded:
    """The settings of one node, valid as a whole, and the origin of every value that is not a default.

    All paths are absolute: those in the file are relative to the workspace, the others to the current folder.
    """

    settings: Settings
    origins: Mapping[str, Origin]
    file: Path | None = None
    """The `henslowe.toml` that was read, if there is one."""

    def origin(self, key: str) -> Origin:
        """Where the value of a dotted key came from."""
        return self.origins.get(key, BY_DEFAULT)

    def rows(self) -> Iterator[Row]:
        """Every value with its origin, in the order of the settings."""
        for key, value in _flatten(self.settings, ()):
            dotted = ".".join(key)
            yield Row(dotted, value, self.origin(dotted))


def _flatten(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    if isinstance(value, BaseModel):
        for name in type(value).model_fields:
            yield from _flatten(getattr(value, name), (*path, name))
    elif isinstance(value, dict):
        for name, item in value.items():
            yield from _flatten(item, (*path, str(name)))
    else:
        yield path, value
