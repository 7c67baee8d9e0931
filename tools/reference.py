"""Writes the pages of `docs/reference` that are made from the code: events, settings, command line, admin API.

    python tools/reference.py           # write them
    python tools/reference.py --check   # exit with 1 when one is stale; a test does the same

Each page is a pure function of the code, so that the same code gives the same bytes.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Final, Literal, Union, get_args, get_origin

import annotated_types
import click
from pydantic import BaseModel
from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined

FOLDER: Final = Path(__file__).parent.parent / "docs" / "reference"
MADE: Final = "<!-- Made from the code by tools/reference.py: change that, then say make reference. -->"


def documented(module: Any, class_name: str) -> Iterator[tuple[str, str, str]]:
    """The attributes of a class in order: group comment, name, and the docstring that follows the attribute.

    A comment on a line of its own begins a group; of a comment over several lines the first one counts.
    """
    source = inspect.getsource(module)
    lines = source.splitlines()
    classes = {node.name: node.body for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    body = classes[class_name]
    group = ""
    for here, after in zip(body, [*body[1:], None], strict=True):
        if not isinstance(here, ast.Assign | ast.AnnAssign):
            continue
        target = here.targets[0] if isinstance(here, ast.Assign) else here.target
        above = here.lineno - 2
        while lines[above].lstrip().startswith("#"):
            group = lines[above].lstrip("# ")
            above -= 1
        yield group, ast.unparse(target), _text(after)


def _text(node: ast.stmt | None) -> str:
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str):
        return " ".join(inspect.cleandoc(node.value.value).split())
    return ""


def table(head: tuple[str, ...], rows: Sequence[tuple[str, ...]]) -> str:
    """A Markdown table."""
    cells = [tuple(cell.replace("|", "\\|") for cell in row) for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, tuple("---" for _ in head), *cells])


def page(title: str, *parts: str) -> str:
    """A page."""
    return "\n\n".join([f"# {title}", MADE, *(part.strip() for part in parts if part.strip())]) + "\n"


# -- the pages ----------------


def events_page() -> str:
    """The vocabulary of the log."""
    from henslowe.actors import vocabulary

    intro = f"""
Everything that happens is an event in one of three logs. An event is written as `TYPE STATUS`, for example
`LINT_COMPLETE SUCCESS`, and carries its time, service, version number and data. This is version
{vocabulary.VOCABULARY_VERSION} of the vocabulary. It only grows: a word is never removed or given another meaning, and
a reader shows the words that it does not know.

    henslowe events --type 'CANARY_*' --follow
"""
    streams = [(f"`{_value(vocabulary.Stream, name)}`", text) for _, name, text in documented(vocabulary, "Stream")]
    statuses = ", ".join(f"`{status.value}`" for status in vocabulary.Status)
    parts = [intro, "## Logs\n\n" + table(("log", "what is in it"), streams), f"## Statuses\n\n{statuses}"]
    groups: dict[str, list[tuple[str, ...]]] = {}
    for group, name, text in documented(vocabulary, "EventType"):
        title = group.partition(";")[0].partition(":")[0].strip()
        groups.setdefault(title, []).append((f"`{name}`", text))
    for title, rows in groups.items():
        heading = title[:1].upper() + title[1:]
        parts.append(f"## {heading}\n\n" + table(("event", "what happened, and its data"), rows))
    return page("Events", *parts)


def settings_page() -> str:
    """Every setting of a node."""
    from henslowe.config import settings
    from henslowe.config.section import Section

    intro = """
Settings come from, in this order of strength: command line (`--set delivery.canary_percent=5`), environment
(`HENSLOWE_DELIVERY__CANARY_PERCENT=5`), `henslowe.toml` in the workspace, defaults. `henslowe config show` prints each
with its origin. A key that is not known is an error that names the key that was probably meant.
"""
    parts = [intro]
    sections: list[tuple[str, type[BaseModel]]] = [("", settings.Settings)]
    for name, field in settings.Settings.model_fields.items():
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel):
            sections.append((name, field.annotation))
    sections.append(("services.NAME", settings.DeclaredService))
    for prefix, model in sections:
        kinds = [one for one in reversed(model.__mro__) if issubclass(one, Section)]
        sources = [(inspect.getmodule(one), one.__name__) for one in kinds]
        texts = {name: text for source, title in sources for _, name, text in documented(source, title) if text}
        rows = [
            (f"`{name}`", _type(field), _default(field), texts.get(name, ""))
            for name, field in model.model_fields.items()
            if not _is_model(field.annotation) and name != "services"
        ]
        doc = inspect.getdoc(model) or ""
        heading = f"## `[{prefix}]`" if prefix else "## Top level"
        parts.append(f"{heading}\n\n{' '.join(doc.split())}\n\n" + table(("key", "type", "default", "meaning"), rows))
    return page("Settings", *parts)


def cli_page() -> str:
    """Every command, as its own help says it."""
    from henslowe.cli.app import COMMANDS, cli

    intro = """
Each command ends with the next useful step, and takes `--json` for programs: a contract that only grows. Exit codes:
0 done, 1 failed, 2 usage or configuration, 3 no node answers, 4 something is unhealthy or a gate failed.
"""
    parts = [intro]
    given = {**cli.context_settings, "max_content_width": 100, "terminal_width": 100}
    root = click.Context(cli, info_name="henslowe", **given)
    for title, entries in COMMANDS.items():
        parts.append(f"## {title}")
        for entry in entries:
            command = cli.get_command(root, entry.name)
            assert command is not None, entry.name
            parts += _command(command, click.Context(command, info_name=entry.name, parent=root), "###")
    return page("Command line", *parts)


def _command(command: click.Command, context: click.Context, level: str) -> Iterator[str]:
    """A command's help, and that of the commands in it."""
    yield f"{level} `{context.command_path}`\n\n```text\n{command.get_help(context)}\n```"
    if isinstance(command, click.Group):
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None, name
            yield from _command(inner, click.Context(inner, info_name=name, parent=context), "####")


def http_page() -> str:
    """The admin API's routes and replies."""
    from henslowe.transport.admin.routes import ROUTES

    intro = """
The admin API answers on the socket `admin.sock` in the data directory, and on the listener with
`Authorization: Bearer TOKEN` (the token is in `admin.token` in the data directory). Requests are strict: a field that
is not known is an error. Replies only grow.
"""
    rows = [(route.method, f"`{route.path}`", route.summary, _model(route)) for route in ROUTES]
    models: dict[str, type[BaseModel]] = {}
    for route in ROUTES:
        for used in (route.query, route.body, route.reply):
            _collect(used, models)
    parts = [intro, table(("method", "path", "what", "reply"), rows), "## Requests and replies"]
    for name, model in sorted(models.items()):
        texts = {field: text for _, field, text in documented(sys.modules[model.__module__], name)}
        fields = [(f"`{field}`", _type(info), texts.get(field, "")) for field, info in model.model_fields.items()]
        doc = " ".join((inspect.getdoc(model) or "").split())
        parts.append(f"### `{name}`\n\n{doc}\n\n" + (table(("field", "type", "meaning"), fields) if fields else ""))
    return page("Admin API", *parts)


PAGES: Final[dict[str, Callable[[], str]]] = {
    "events.md": events_page,
    "settings.md": settings_page,
    "cli.md": cli_page,
    "http.md": http_page,
}

# -- words for types ----------------


def _is_model(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _value(enum: Any, name: str) -> str:
    return str(enum[name].value)


_WORDS: Final[dict[Any, str]] = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "`true` or `false`",
    Path: "path",
    Any: "anything",
}


def _type(field: FieldInfo) -> str:
    limits = []
    for rule in field.metadata:
        for sign, kind in ((">=", "ge"), (">", "gt"), ("<=", "le"), ("<", "lt")):
            if isinstance(rule, getattr(annotated_types, kind.capitalize())):
                limits.append(f"{sign} {_number(getattr(rule, kind))}")
    return _annotation(field.annotation) + (f", {' and '.join(limits)}" if limits else "")


def _annotation(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if annotation is type(None):
        return "nothing"
    if origin is Literal:
        return ", ".join(f"`{value}`" for value in arguments)
    if origin is Annotated:
        return _annotation(arguments[0])
    if origin in (Union, UnionType):
        return " or ".join(_annotation(argument) for argument in arguments)
    if origin in (tuple, list):
        return f"list of {_annotation(arguments[0])}"
    if origin is dict:
        return "table"
    return _WORDS.get(annotation, f"`{getattr(annotation, '__name__', annotation)}`")


def _default(field: FieldInfo) -> str:
    value = field.get_default(call_default_factory=True)
    if value is PydanticUndefined:
        return "required"
    if value in (None, "", (), {}):
        return ""
    if isinstance(value, bool):
        return f"`{str(value).lower()}`"
    return f"`{_number(value) if isinstance(value, float) else value}`"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _model(route: Any) -> str:
    return f"`{route.reply.__name__}`" if route.reply is not None else " or ".join(f"`{kind}`" for kind in route.media)


def _collect(model: Any, into: dict[str, type[BaseModel]]) -> None:
    """The model and every model in its fields."""
    for part in (model, *get_args(model)):
        if _is_model(part) and part.__name__ not in into:
            into[part.__name__] = part
            for field in part.model_fields.values():
                _collect(field.annotation, into)
        elif part is not model:
            _collect(part, into)


def main() -> int:
    """Writes or checks the pages; the exit code."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="write nothing; exit with 1 when a page is stale")
    check = parser.parse_args().check
    stale = []
    for name, made in PAGES.items():
        path, text = FOLDER / name, made()
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if not check:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
    if stale:
        print(f"{'stale' if check else 'written'}: {', '.join(stale)}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
