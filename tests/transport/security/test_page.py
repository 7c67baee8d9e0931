"""The page about security says what is tested: each of its lines names a test, and the test exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "explanation" / "security.md"
ROW = re.compile(
    r"^\| (?P<threat>[^|]+) \| (?P<what>[^|]+) \| (?P<where>[^|]+) \| `(?P<test>[^`|]+)` \|$", re.MULTILINE
)
LINES = [row for row in ROW.finditer(PAGE.read_text()) if row["threat"] != "threat"]


def test_the_page_has_a_line_for_each_threat_that_was_asked_about() -> None:
    text = " ".join(row["threat"].lower() for row in LINES)
    for word in (
        "dns rebinding",
        "csrf",
        "token passthrough",
        "session fixation",
        "guessing",
        "ssrf by `$ref`",
        "ssrf by a url",
        "path traversal in resources",
        "path traversal in names",
        "path traversal in the archive",
        "log and header injection",
        "oversized",
        "nested",
        "header bombs",
        "slowloris",
        "too many requests",
        "eavesdropping",
    ):
        assert word in text
    rows = [line for line in PAGE.read_text().splitlines() if "::" in line]
    assert len(rows) == len(LINES), "every line of the table can be read"


@pytest.mark.parametrize("row", LINES, ids=lambda row: row["threat"])
def test_each_line_names_a_test_and_a_place_that_exist(row: re.Match[str]) -> None:
    file, _, name = row["test"].partition("::")
    tree = ast.parse((ROOT / file).read_text())
    defined = {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}
    assert name in defined
    for place in re.findall(r"`([^`]+)`", row["where"]):
        assert (ROOT / "henslowe" / place).exists()
