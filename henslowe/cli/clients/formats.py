"""One entry in the text of a configuration: read, put, taken out. What else is in the text stays as it is.

JSON with comments is `jsonc`'s; TOML and YAML are their libraries', which keep comments and order.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any

from henslowe.cli.clients import jsonc
from henslowe.cli.clients.known import Client
from henslowe.errors import ConfigError


@dataclass(slots=True, frozen=True)
class Edit:
    """What becomes of one entry; None takes it out."""

    name: str
    value: dict[str, Any] | None


def entries(client: Client, text: str) -> dict[str, Any]:
    """The servers in a client's configuration, by name.

    Raises:
        ConfigError: It cannot be read, or the servers are not where they belong.
    """
    document = _document(client, text)
    table = document.get(client.table)
    if table is None:
        return {}
    if not isinstance(table, dict):
        raise ConfigError(f"expected {client.table} to be a table, got: {type(table).__name__}")
    return table


def edited(client: Client, text: str, edit: Edit) -> str:
    """The text after an edit.

    Raises:
        ConfigError: It cannot be read, or would not say what it said before but for this entry.
    """
    before = _plain(entries(client, text))
    if before.get(edit.name) == edit.value:
        return text
    after = (
        _JSON[edit.value is None](client, text, edit) if client.format == "json" else _structured(client, text, edit)
    )
    expected = {name: value for name, value in before.items() if name != edit.name}
    if edit.value is not None:
        expected[edit.name] = edit.value
    if _plain(entries(client, after)) != expected:
        raise ConfigError(
            f"cannot change the entry {edit.name!r} and leave the rest as it is",
            hint="henslowe client add --print prints the entry to paste",
        )
    return after


def _document(client: Client, text: str) -> dict[str, Any]:
    if not text.strip():
        return {}
    if client.format == "json":
        return jsonc.parse(text)
    document = _load(client, text)
    if document is None:
        return {}
    if not isinstance(document, dict):
        raise ConfigError(f"expected a table, got: {type(document).__name__}")
    return document


def _load(client: Client, text: str) -> Any:
    if client.format == "toml":
        import tomlkit
        from tomlkit.exceptions import TOMLKitError

        try:
            return tomlkit.parse(text)
        except TOMLKitError as error:
            raise ConfigError(f"expected TOML, got: {error}") from error
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    yaml = YAML()
    yaml.preserve_quotes = True
    try:
        return yaml.load(text)
    except YAMLError as error:
        raise ConfigError(f"expected YAML, got: {str(error).splitlines()[0]}") from error


def _put(client: Client, text: str, edit: Edit) -> str:
    return jsonc.put(text, client.table, edit.name, edit.value)


def _drop(client: Client, text: str, edit: Edit) -> str:
    return jsonc.drop(text, client.table, edit.name)


_JSON = {False: _put, True: _drop}


def _structured(client: Client, text: str, edit: Edit) -> str:
    document = _load(client, text) if text.strip() else None
    if client.format == "toml":
        import tomlkit

        document = tomlkit.document() if document is None else document
        if client.table not in document:
            document.add(client.table, tomlkit.table(is_super_table=True))
    elif document is None:
        from ruamel.yaml.comments import CommentedMap

        document = CommentedMap()
    if document.get(client.table) is None:
        document[client.table] = {}
    if edit.value is None:
        document[client.table].pop(edit.name, None)
    else:
        document[client.table][edit.name] = edit.value
    if client.format == "toml":
        return str(tomlkit.dumps(document))
    from ruamel.yaml import YAML

    yaml = YAML()
    yaml.preserve_quotes = True
    yaml.width = 4_096
    out = io.StringIO()
    yaml.dump(document, out)
    return out.getvalue()


def _plain(value: Any) -> Any:
    """The value in ordinary types, whatever a library made of it."""
    if hasattr(value, "unwrap"):
        value = value.unwrap()
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_plain(item) for item in value]
    return value
