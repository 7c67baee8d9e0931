"""What test tools wrote, read: JUnit XML to totals and failing tests, Cobertura or LCOV to a share of covered lines.

The files come from code that nobody has looked at yet. They are read by expat as a stream, with no tree in memory, and
any declaration of an entity ends the reading; external entities are never fetched. Sizes, depth and what is kept are
limited. Pure: bytes in, facts out. Not here: which files, and where they are kept (`kept`).

Source: the JUnit schema as Jenkins, pytest and Node.js write it; Cobertura's coverage-04.dtd; geninfo(1) for LCOV.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Final
from xml.parsers import expat

from henslowe.errors import StageFailed

BYTES_MAX: Final = 16 << 20
DEPTH_MAX: Final = 64
FAILURES_MAX: Final = 20
"""Failing tests that are kept by name, per stage; the rest is counted."""
TEXT_CHARS_MAX: Final = 400
"""Of a failing test's name or message."""


@dataclass(slots=True, frozen=True)
class FailedTest:
    """One test that did not pass."""

    name: str
    message: str


@dataclass(slots=True, frozen=True)
class TestTotals:
    """What a stage's tests came to."""

    __test__ = False  # pytest's word

    total: int = 0
    failed: int = 0
    """Failures and errors."""
    skipped: int = 0
    failures: tuple[FailedTest, ...] = ()
    """The first ones by name."""

    def __add__(self, other: TestTotals) -> TestTotals:
        return TestTotals(
            self.total + other.total,
            self.failed + other.failed,
            self.skipped + other.skipped,
            (self.failures + other.failures)[:FAILURES_MAX],
        )


@dataclass(slots=True, frozen=True)
class Coverage:
    """Lines that the tests reached."""

    lines: int = 0
    covered: int = 0

    def __add__(self, other: Coverage) -> Coverage:
        return Coverage(self.lines + other.lines, self.covered + other.covered)

    @property
    def percent(self) -> float:
        """Of all lines; 100 where there is none."""
        return round(100 * self.covered / self.lines, 1) if self.lines else 100.0


@dataclass(slots=True, frozen=True)
class Findings:
    """What the reports of one stage say."""

    tests: TestTotals | None = None
    coverage: Coverage | None = None

    def as_dict(self) -> dict[str, Any]:
        """For the version's metadata and for the stage cache; only what there is."""
        found: dict[str, Any] = {}
        if self.tests is not None:
            found["tests"] = asdict(self.tests)
        if self.coverage is not None:
            found["coverage"] = {**asdict(self.coverage), "percent": self.coverage.percent}
        return found

    @classmethod
    def from_dict(cls, table: dict[str, Any]) -> Findings:
        """What `as_dict` made, after a round trip through JSON."""
        tests, coverage = table.get("tests"), table.get("coverage")
        return cls(
            TestTotals(
                tests["total"],
                tests["failed"],
                tests["skipped"],
                tuple(FailedTest(each["name"], each["message"]) for each in tests["failures"]),
            )
            if tests
            else None,
            Coverage(coverage["lines"], coverage["covered"]) if coverage else None,
        )


def read_junit(data: bytes) -> TestTotals:
    """The totals of one file.

    Raises:
        StageFailed: It is no JUnit XML, or tries what a report has no need of.
    """
    reader = _Junit()
    _parse(data, reader)
    if not reader.is_junit:
        raise StageFailed("expected <testsuites> or <testsuite> at the root")
    return TestTotals(reader.total, reader.failed, reader.skipped, tuple(reader.failures))


def read_coverage(data: bytes) -> Coverage:
    """The lines of one file.

    Raises:
        StageFailed: It is neither Cobertura XML nor LCOV.
    """
    if data.lstrip()[:1] != b"<":
        return _lcov(data)
    reader = _Cobertura()
    _parse(data, reader)
    if reader.root != "coverage":
        raise StageFailed("expected <coverage> at the root")
    return reader.stated or Coverage(reader.lines, reader.covered)


class _Reader:
    """What hears of elements."""

    def begin(self, name: str, attributes: dict[str, str], depth: int) -> None:
        """An element begins."""

    def end(self, name: str) -> None:
        """An element ends."""

    def text(self, text: str) -> None:
        """Text within an element."""


def _parse(data: bytes, reader: _Reader) -> None:
    if len(data) > BYTES_MAX:
        raise StageFailed(f"expected at most {BYTES_MAX >> 20} MiB, got more")
    depth = 0

    def begin(name: str, attributes: dict[str, str]) -> None:
        nonlocal depth
        depth += 1
        if depth > DEPTH_MAX:
            raise StageFailed(f"expected elements at most {DEPTH_MAX} deep, got more")
        reader.begin(name, attributes, depth)

    def end(name: str) -> None:
        nonlocal depth
        depth -= 1
        reader.end(name)

    def refuse(*_: object) -> None:
        raise StageFailed("expected no declaration of entities, got one")

    parser = expat.ParserCreate()
    parser.StartElementHandler = begin
    parser.EndElementHandler = end
    parser.CharacterDataHandler = reader.text
    parser.EntityDeclHandler = refuse
    parser.SetParamEntityParsing(expat.XML_PARAM_ENTITY_PARSING_NEVER)
    try:
        parser.Parse(data, True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise StageFailed(f"cannot parse it: {error}") from error


@dataclass(slots=True)
class _Junit(_Reader):
    is_junit: bool = False
    total: int = 0
    failed: int = 0
    skipped: int = 0
    failures: list[FailedTest] = field(default_factory=list)
    _name: str = ""
    _outcome: str = ""
    _message: str = ""
    _listens: bool = False

    def begin(self, name: str, attributes: dict[str, str], depth: int) -> None:
        if depth == 1:
            self.is_junit = name in ("testsuites", "testsuite")
        if name == "testcase":
            where, what = attributes.get("classname", ""), attributes.get("name", "")
            self._name = f"{where}::{what}" if where and where != "test" else what
            self._outcome = self._message = ""
        elif name in ("failure", "error") and self._outcome != "failed":
            self._outcome, self._message = "failed", attributes.get("message", "")
            self._listens = not self._message
        elif name == "skipped" and not self._outcome:
            self._outcome = "skipped"

    def end(self, name: str) -> None:
        if name in ("failure", "error"):
            self._listens = False
        if name != "testcase":
            return
        self.total += 1
        self.skipped += self._outcome == "skipped"
        if self._outcome == "failed":
            self.failed += 1
            if len(self.failures) < FAILURES_MAX:
                self.failures.append(FailedTest(_short(self._name), _short(self._message.strip())))

    def text(self, text: str) -> None:
        if self._listens and len(self._message) < TEXT_CHARS_MAX * 2:
            self._message += text


@dataclass(slots=True)
class _Cobertura(_Reader):
    root: str = ""
    stated: Coverage | None = None
    """What the root says of all; older writers leave it out."""
    lines: int = 0
    covered: int = 0
    _within_methods: int = 0

    def begin(self, name: str, attributes: dict[str, str], depth: int) -> None:
        if depth == 1:
            self.root = name
            if "lines-valid" in attributes and "lines-covered" in attributes:
                self.stated = Coverage(_count(attributes["lines-valid"]), _count(attributes["lines-covered"]))
        elif name == "methods":
            self._within_methods += 1
        elif name == "line" and not self._within_methods:  # a method's lines are the class's lines again
            self.lines += 1
            self.covered += _count(attributes.get("hits", "0")) > 0

    def end(self, name: str) -> None:
        self._within_methods -= name == "methods"


def _lcov(data: bytes) -> Coverage:
    if len(data) > BYTES_MAX:
        raise StageFailed(f"expected at most {BYTES_MAX >> 20} MiB, got more")
    lines = covered = 0
    ended = False
    for line in data.splitlines():
        if line.startswith(b"LF:"):
            lines += _count(line[3:].decode(errors="replace"))
        elif line.startswith(b"LH:"):
            covered += _count(line[3:].decode(errors="replace"))
        elif line == b"end_of_record":
            ended = True
    if not ended:
        raise StageFailed("expected Cobertura XML or LCOV")
    return Coverage(lines, covered)


def _count(text: str) -> int:
    """A number of lines.

    Raises:
        StageFailed: It is none.
    """
    text = text.strip()
    if not (text.isascii() and text.isdigit()) or len(text) > 12:
        raise StageFailed(f"expected a number of lines, got {text[:40]!r}")
    return int(text)


def _short(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_MAX else f"{text[:TEXT_CHARS_MAX]}…"
