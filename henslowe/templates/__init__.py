"""What `henslowe new` lays out: one folder per template below this one, found by looking: a new one is files only.

    templates/python/template.toml         about = "...", folder = "dev/@name@", next = ["..."]
    templates/python/server.py.in          becomes server.py

A file's name ends in `.in`, so that no tool takes it for our own source; the ending goes. In names and contents
`@name@` becomes the given name, `@module@` the same as a Python identifier, `@class@` the same as a class name.

Not here: where the workspace is and what to say to a person (`henslowe.cli.new`).
"""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from henslowe.errors import Conflict, NotFound, WorkspaceError

_HERE: Final = Path(__file__).parent
_FACTS: Final = "template.toml"
_SUFFIX: Final = ".in"
_PLACEHOLDER: Final = re.compile("@(name|module|class)@")


@dataclass(slots=True, frozen=True)
class Template:
    """One thing that can be made."""

    name: str
    about: str
    """One line for a person who chooses."""
    folder: str
    """Where it is made, relative to the workspace."""
    next: tuple[str, ...]
    """What to do with it, in order."""

    @property
    def is_service(self) -> bool:
        """Whether it is developed by the node: a folder below `dev/`."""
        return self.folder.startswith("dev/")


def templates() -> tuple[Template, ...]:
    """All templates, by name."""
    found = []
    for path in sorted(_HERE.glob(f"*/{_FACTS}")):
        facts = tomllib.loads(path.read_text())
        found.append(Template(path.parent.name, facts["about"], facts["folder"], tuple(facts["next"])))
    return tuple(found)


def template(name: str) -> Template:
    """The template of that name.

    Raises:
        NotFound: There is none.
    """
    known = {each.name: each for each in templates()}
    if name not in known:
        raise NotFound(f"expected a template of {', '.join(known)}, got: {name!r}", hint="henslowe new --list")
    return known[name]


def filled(text: str, name: str) -> str:
    """The text with its placeholders replaced."""
    words = re.split("[-_]+", name)
    module = "_".join(word for word in words if word)
    values = {
        "name": name,
        "module": module if module.isidentifier() else f"n{module}",
        "class": "".join(word.capitalize() for word in words if word),
    }
    return _PLACEHOLDER.sub(lambda found: values[found[1]], text)


def lay_out(made: Template, name: str, workspace: Path) -> tuple[Path, list[str]]:
    """Make it, whole or not at all: its folder, and the files in it.

    Nobody who watches the workspace sees a part of it: it is made aside and renamed.

    Raises:
        Conflict: There is something at its place.
        WorkspaceError: It cannot be written.
    """
    target = workspace / filled(made.folder, name)
    if os.path.lexists(target):
        raise Conflict(f"cannot make {target}: it is there already", hint="choose another name, or remove it first")
    aside = target.with_name(f".{target.name}.{os.getpid()}.new")
    files = []
    try:
        for source in sorted((_HERE / made.name).rglob(f"*{_SUFFIX}")):
            relative = filled(source.relative_to(_HERE / made.name).as_posix().removesuffix(_SUFFIX), name)
            (aside / relative).parent.mkdir(parents=True, exist_ok=True)
            (aside / relative).write_text(filled(source.read_text(), name))
            files.append(relative)
        aside.rename(target)
    except OSError as error:
        raise WorkspaceError(f"cannot make {target}: {error.strerror}", hint="check its owner and mode") from error
    finally:
        shutil.rmtree(aside, ignore_errors=True)
    return target, files
