from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest

from henslowe.config.settings import LogSettings
from henslowe.log import setup_logging


@pytest.fixture(autouse=True)
def _leave_logging_as_it_was() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger("henslowe")
    before, level = root.handlers[:], ours.level
    yield
    root.handlers[:] = before
    ours.setLevel(level)


def logged(level: str = "INFO", form: str = "auto") -> tuple[io.StringIO, logging.Logger]:
    stream = io.StringIO()
    setup_logging(LogSettings(level=level, format=form), stream)  # type: ignore[arg-type]
    return stream, logging.getLogger("henslowe.test")


def test_elsewhere_than_on_a_terminal_a_line_is_json_with_the_fields() -> None:
    stream, log = logged()
    log.info("instance ready", extra={"version": "hello@3", "took_s": 0.5, "where": object})
    line = json.loads(stream.getvalue())
    assert (line["event"], line["level"], line["logger"]) == ("instance ready", "INFO", "henslowe.test")
    assert (line["version"], line["took_s"]) == ("hello@3", 0.5)
    assert line["time"].endswith("+00:00")


def test_text_is_one_line_whatever_the_fields_hold() -> None:
    stream, log = logged(form="text")
    log.warning("stage failed", extra={"reason": "two\nlines \x1b[2J", "n": 3, "empty": ""})
    (line,) = stream.getvalue().splitlines()
    assert 'WARNING stage failed  reason="two\\nlines \\u001b[2J" n=3 empty=""' in line


def test_a_traceback_follows_text_and_is_a_field_of_json() -> None:
    for form in ("text", "json"):
        stream, log = logged(form=form)
        try:
            raise ZeroDivisionError("oops")
        except ZeroDivisionError:
            log.exception("actor crashed")
        assert "ZeroDivisionError: oops" in stream.getvalue()
        assert len(stream.getvalue().splitlines()) == 1 or form == "text"


def test_the_level_is_ours_alone_and_libraries_speak_from_warning_on() -> None:
    stream, log = logged(level="DEBUG")
    log.debug("ours")
    logging.getLogger("library").info("theirs")
    logging.getLogger("library").warning("their warning")
    assert [json.loads(line)["event"] for line in stream.getvalue().splitlines()] == ["ours", "their warning"]


def test_a_second_setup_replaces_the_first() -> None:
    first, _ = logged()
    second, log = logged()
    log.info("once")
    assert first.getvalue() == ""
    assert len(second.getvalue().splitlines()) == 1
