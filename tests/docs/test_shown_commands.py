"""Every command that a page shows exists, with the options that it shows."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import click
import pytest

from henslowe.cli.app import cli

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = [ROOT / "README.md", *sorted(path for path in (ROOT / "docs").rglob("*.md") if path.name != "cli.md")]
"""But for the page that is made from the commands themselves."""
CONSOLE = re.compile(r"^ *\$ (henslowe (?:.*\\\n)*.*)$", re.MULTILINE)
INLINE = re.compile(r"`(henslowe [a-z][^`]*)`")


def commands(page: Path) -> Iterator[str]:
    text = page.read_text()
    yield from (found.replace("\\\n", " ") for found in CONSOLE.findall(text))
    yield from (" ".join(found.split()) for found in INLINE.findall(text))


def problem(line: str) -> str:
    """What the command line has no such thing as; "" where all is there."""
    lexer = shlex.shlex(line, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    words = [word.rstrip(",") for word in takewhile(lambda word: word not in (";", "|", "&&", "<"), lexer)][1:]
    command: click.Command = cli
    while isinstance(command, click.Group) and words and not words[0].startswith("-"):
        named = command.get_command(click.Context(command), words[0])
        if named is None:
            return f"no command {words[0]!r}"
        command, words = named, words[1:]
    options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)} | {"-h", "--help"}
    missing = [word for word in words if re.match("--?[a-z]", word) and word.partition("=")[0] not in options]
    return f"{command.name} has no option {missing[0]}" if missing else ""


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_commands_of_a_page_exist(page: Path) -> None:
    assert {line: said for line in commands(page) if (said := problem(line))} == {}


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("henslowe status --watch", ""),
        ("henslowe client add cursor --print   # writes nothing", ""),
        ("henslowe storage migrate people --to flip; henslowe frobnicate", ""),
        ("henslowe frobnicate", "no command 'frobnicate'"),
        ("henslowe storage frobnicate", "no command 'frobnicate'"),
        ("henslowe status --loudly", "status has no option --loudly"),
    ],
)
def test_what_does_not_exist_is_found(line: str, said: str) -> None:
    assert problem(line) == said


def test_commands_are_found_in_the_pages() -> None:
    assert sum(1 for page in PAGES for _ in commands(page)) > 150
