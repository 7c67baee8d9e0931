"""The keys that the settings have: which dotted paths exist, what each holds, and which one a typo meant.

Derived from the models of `henslowe.config.settings`; adding a field there is all it takes. Turning text into values
and checking them is `henslowe.config.loading`'s.
"""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Annotated, Any, get_args, get_origin

from henslowe.config.section import Section
from henslowe.config.settings import Settings

Path_ = tuple[str, ...]

ANY_NAME = "*"
"""Stands for a name that the person chooses: a service, a variable, a header."""


@cache
def leaves() -> dict[Path_, Any]:
    """Every path that holds a value, with its type; chosen names appear as `*`."""
    return dict(_walk(Settings, ()))


def leaf(path: Path_) -> Any | None:
    """The type at a path, or None when no such key exists."""
    found = _match(path)
    return None if found is None else leaves()[found]


def is_table(path: Path_) -> bool:
    """Whether the path is a table: it has keys below it and no value of its own."""
    return any(len(known) > len(path) and _fits(known[: len(path)], path) for known in leaves())


def suggestion(path: Path_) -> str:
    """The dotted key that was probably meant, or "" when nothing is near."""
    dotted = ".".join(path)
    known = {".".join(_filled(each, path)): each for each in leaves() if each[-1] != ANY_NAME}
    mine = [each[-1] for each in known.values() if each[:-1] == path[:-1]]
    if here := difflib.get_close_matches(path[-1], mine, n=1, cutoff=0.8):  # a slip in the right table
        return ".".join((*path[:-1], here[0]))
    for key in known:  # the right word in the wrong table: `strategy` for `delivery.strategy`
        if key.split(".")[-1] == path[-1] and ANY_NAME not in key:
            return key
    near = difflib.get_close_matches(dotted, known, n=1, cutoff=0.7)
    if not near:
        tail = difflib.get_close_matches(path[-1], [key.split(".")[-1] for key in known], n=1, cutoff=0.8)
        near = [key for key in known if tail and key.split(".")[-1] == tail[0]][:1]
    return near[0] if near and ANY_NAME not in near[0] else ""


def from_text(annotation: Any, text: str) -> Any:
    """A value for the validator from a flag or a variable: lists are JSON or comma-separated, the rest stays text."""
    if get_origin(_bare(annotation)) is tuple:
        return _list(text)
    if text == "" and type(None) in get_args(_bare(annotation)):
        return None
    return text


def holds_path(annotation: Any) -> bool:
    """Whether the value is a file system path."""
    bare = _bare(annotation)
    return bare is Path or Path in get_args(bare)


def _walk(section: type[Section], path: Path_) -> Iterator[tuple[Path_, Any]]:
    for name, field in section.model_fields.items():
        annotation = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, Section):
            yield from _walk(annotation, (*path, name))
        elif get_origin(annotation) is dict:
            inner = get_args(annotation)[1]
            if isinstance(inner, type) and issubclass(inner, Section):
                yield from _walk(inner, (*path, name, ANY_NAME))
            else:
                yield (*path, name, ANY_NAME), inner
        else:
            yield (*path, name), annotation


def _match(path: Path_) -> Path_ | None:
    return next((known for known in leaves() if len(known) == len(path) and _fits(known, path)), None)


def _fits(known: Path_, path: Path_) -> bool:
    return all(k in (ANY_NAME, p) for k, p in zip(known, path, strict=False))


def _filled(known: Path_, path: Path_) -> Path_:
    """The known path with the names that the person chose where they line up."""
    names = [p if k == ANY_NAME else k for k, p in zip(known, path, strict=False)]
    return (*names, *known[len(names) :])


def _bare(annotation: Any) -> Any:
    return get_args(annotation)[0] if get_origin(annotation) is Annotated else annotation


def _list(text: str) -> list[str]:
    if text.lstrip().startswith("["):
        try:
            value = json.loads(text)
        except ValueError:
            return [text]
        return value if isinstance(value, list) else [text]
    return [item.strip() for item in text.split(",") if item.strip()]
