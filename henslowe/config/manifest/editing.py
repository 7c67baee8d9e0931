"""Changes of a `service.toml` by programs: comments and order stay, and what would be wrong is never written.

Pure, text to text. Not here: where the file is, and who writes it (`folders`).
"""

from __future__ import annotations

import copy
import hashlib
import tomllib
from collections.abc import Iterable, Mapping
from typing import Any, Final

from henslowe.config.manifest.models import SERVICE_FILE
from henslowe.errors import ConfigError, ManifestError

TEXT_CHARS_MAX: Final = 256 * 1024


def etag_of(text: str) -> str:
    """What tells one content of the file from another."""
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:16]


def edited(text: str, assign: Mapping[str, Any], remove: Iterable[str] = ()) -> str:
    """The text with keys set and removed; keys are dotted: `stages.test.timeout_s`.

    Raises:
        ManifestError: The text is no TOML, a key leads through something that is no table, a key to be removed is not
            there, or a value cannot be said in TOML.
    """
    import tomlkit
    from tomlkit.exceptions import TOMLKitError

    try:
        wanted = tomllib.loads(text)
        document = tomlkit.parse(text)
        for key, value in assign.items():
            _set(wanted, key, copy.deepcopy(value))
            _set(document, key, tomlkit.item(value), make=tomlkit.table)
        for key in remove:
            _remove(wanted, key)
            _remove(document, key)
        result = tomlkit.dumps(document)
        # The library keeps what a person wrote; whether it also says what was meant is seen by reading it again.
        if tomllib.loads(result) != wanted:
            raise ValueError("the result would say something else")
    except (TOMLKitError, tomllib.TOMLDecodeError, ValueError, TypeError) as error:
        raise ManifestError(
            f"cannot change {SERVICE_FILE}: {error}", hint="edit the file by hand", file=SERVICE_FILE, key=""
        ) from error
    return result


def value_of(text: str) -> Any:
    """What a person means by VALUE in KEY=VALUE: TOML where it is some, else the words themselves."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def assignment(text: str) -> tuple[str, Any]:
    """KEY=VALUE as key and value.

    Raises:
        ConfigError: There is no `=`, or no key before it.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise ConfigError(f"expected KEY=VALUE, got: {text!r}", hint="for example strategy=canary")
    return key.strip(), value_of(value.strip())


def _parts(key: str) -> list[str]:
    parts = key.split(".")
    if not all(parts):
        raise ManifestError(f"expected a key such as stages.test.timeout_s, got {key!r}", file=SERVICE_FILE, key=key)
    return parts


def _set(table: Any, key: str, value: Any, make: Any = dict) -> None:
    *path, last = _parts(key)
    for part in path:
        if part not in table:
            table[part] = make()
        table = table[part]
        _check_table(table, part, key)
    table[last] = value


def _remove(table: Any, key: str) -> None:
    """Remove a key, and the tables around it that are empty then."""
    *path, last = _parts(key)
    around = []
    for part in path:
        around.append((table, part))
        table = table.get(part, {})
        _check_table(table, part, key)
    if last not in table:
        raise ManifestError(
            f"cannot remove {key}: {SERVICE_FILE} does not have it", hint="see it with: henslowe service show", key=key
        )
    del table[last]
    for outer, part in reversed(around):
        if part in outer and not outer[part]:
            del outer[part]


def _check_table(value: Any, part: str, key: str) -> None:
    if not isinstance(value, Mapping):
        raise ManifestError(
            f"cannot reach {key}: expected {part} to be a table, got {value!r:.60}", file=SERVICE_FILE, key=key
        )
