"""What is wrong with a configuration, one sentence per problem: key, what was expected, what was found, and where.

Turns pydantic's findings into the house's words and gathers all problems into one `ConfigError`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from pydantic import ValidationError

from henslowe.config.provenance import BY_DEFAULT, Origin, Source
from henslowe.errors import ConfigError

_SHOWN_MAX = 80
_EXPECTED = {
    "bool_parsing": "true or false",
    "bool_type": "true or false",
    "dict_type": "a table",
    "float_parsing": "a number",
    "float_type": "a number",
    "int_from_float": "a whole number",
    "int_parsing": "a whole number",
    "int_type": "a whole number",
    "model_type": "a table",
    "path_type": "a path",
    "string_type": "text",
    "tuple_type": "a list",
    "missing": "a value",
    "finite_number": "a finite number",
}
_BOUNDS = {
    "greater_than": ("gt", "more than"),
    "greater_than_equal": ("ge", "at least"),
    "less_than": ("lt", "less than"),
    "less_than_equal": ("le", "at most"),
}


@dataclass(slots=True, frozen=True)
class Problem:
    """One thing that is wrong; all fields are for people and for `--json`."""

    key: str
    message: str
    where: str = ""
    hint: str = ""

    def __str__(self) -> str:
        return f"{self.message} ({self.where})" if self.where else self.message


def problems_of(error: ValidationError, origins: Mapping[str, Origin]) -> list[Problem]:
    """The findings of a validation as problems, each with the place its value, or the table around it, came from."""
    found = []
    for detail in error.errors(include_url=False):
        path = tuple(str(part) for part in detail["loc"])
        key, origin = ".".join(path), _closest(origins, path)
        found.append(
            Problem(
                key,
                f"{key}: expected {expected_of(detail)}, got: {shown(detail['input'])}",
                origin.where,
                _hint(key, origin),
            )
        )
    return found


def raise_if_any(problems: Sequence[Problem]) -> None:
    """Raise one `ConfigError` that says the first problem and carries all of them in its details.

    Raises:
        ConfigError: There is at least one problem.
    """
    if not problems:
        return
    first, more = problems[0], len(problems) - 1
    also = f"; and {more} more" if more else ""
    hint = first.hint + ("; `henslowe config validate` lists all" if more and first.hint else "")
    raise ConfigError(f"{first}{also}", hint=hint, problems=[asdict(problem) for problem in problems])


def shown(value: Any) -> str:
    """A value as an error shows it: Python's form, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= _SHOWN_MAX else f"{text[:_SHOWN_MAX]}..."


def expected_of(detail: Any) -> str:
    """What one of pydantic's `ErrorDetails` expected, as a noun phrase."""
    kind, context = detail["type"], detail.get("ctx", {})
    if kind in _BOUNDS:
        bound, words = _BOUNDS[kind]
        return f"{words} {context[bound]:g}"
    if kind in ("literal_error", "enum"):
        return f"one of {context['expected']}"
    if kind in _EXPECTED:
        return _EXPECTED[kind]
    message: str = detail["msg"]
    return message.removeprefix("Input should be ").removeprefix("Value error, ").removeprefix("expected ")


def _closest(origins: Mapping[str, Origin], path: tuple[str, ...]) -> Origin:
    known = (origins.get(".".join(path[:length])) for length in range(len(path), 0, -1))
    return next((origin for origin in known if origin is not None), BY_DEFAULT)


def _hint(key: str, origin: Origin) -> str:
    if origin.source is Source.ENVIRONMENT:
        return f"change or unset {origin.where}"
    if origin.source is Source.FLAG:
        return f"change {origin.where}"
    return f"change {key} in {origin.where or 'henslowe.toml'}"
