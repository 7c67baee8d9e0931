"""What is wrong with a `service.toml`, as a sentence about a key: pydantic's complaints in TOML's words."""

from __future__ import annotations

import difflib
from types import NoneType, UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError

from henslowe.config.manifest.models import SERVICE_FILE, ServiceFile
from henslowe.errors import ManifestError

_EXPECTED = {
    "model_type": "a table",
    "dict_type": "a table",
    "tuple_type": "a list of strings",
    "string_type": "a string",
    "float_type": "a number",
    "float_parsing": "a number",
    "bool_type": "true or false",
    "bool_parsing": "true or false",
    "string_pattern_mismatch": "a name of lower-case letters, digits, '-' and '_', beginning with a letter, at most 32",
}
"""Kinds of pydantic's errors in TOML's words."""


def explain(error: ValidationError) -> ManifestError:
    """The first of pydantic's complaints as a sentence about a file and a key."""
    # A key with a typing error is the cause of the one that is missing.
    first = min(error.errors(include_url=False), key=lambda one: one["type"] != "extra_forbidden")
    loc = [part for part in first["loc"] if part != "[key]"]
    key = ".".join(str(part) for part in loc)
    kind, got = first["type"], first["input"]
    more = f" ({error.error_count() - 1} more)" if error.error_count() > 1 else ""
    if kind == "extra_forbidden":
        allowed = _keys_at(loc[:-1])
        near = difflib.get_close_matches(str(loc[-1]), allowed, n=1, cutoff=0.5)
        asked = f"; did you mean {near[0]!r}?" if near else ""
        return ManifestError(
            f"{SERVICE_FILE}: {key}: expected one of {', '.join(allowed)}, got {str(loc[-1])!r}{asked}{more}",
            hint=f"rename the key to {near[0]!r}" if near else "remove the key",
            file=SERVICE_FILE,
            key=key,
        )
    if kind == "missing":
        said = f"{SERVICE_FILE}: {key}: expected a value, got none{more}"
        return ManifestError(said, hint=f"give {loc[-1]}", file=SERVICE_FILE, key=key)
    expected = _EXPECTED.get(kind) or first["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
    if not expected.startswith("expected"):
        expected = f"expected {expected}"
    if kind == "value_error":
        got = {}
    said = "" if isinstance(got, dict) else f", got {got!r:.80}"
    place = f"{SERVICE_FILE}: {key}" if key else SERVICE_FILE
    return ManifestError(f"{place}: {expected}{said}{more}", file=SERVICE_FILE, key=key)


def _keys_at(loc: list[int | str]) -> list[str]:
    """The keys that `service.toml` may have at a place."""
    at: Any = ServiceFile
    for part in loc:
        at = _bare(at)
        if isinstance(at, type) and issubclass(at, BaseModel):
            at = at.model_fields[str(part)].annotation
        else:  # a dictionary or a list of models: any key or index leads to its value type
            at = get_args(at)[1 if get_origin(at) is dict else 0]
    found = _bare(at)
    return sorted(found.model_fields) if isinstance(found, type) and issubclass(found, BaseModel) else []


def _bare(annotation: Any) -> Any:
    """A type without `Annotated` and without `| None`."""
    while get_origin(annotation) in (Annotated, UnionType, Union):
        annotation = next(arg for arg in get_args(annotation) if arg is not NoneType)
    return annotation
