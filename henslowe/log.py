"""The node's own log on standard error: an event name with fields, as text on a terminal and JSON lines elsewhere.

Anybody logs with the standard library: `logging.getLogger(__name__).info("instance_ready", extra={"version": key})`;
every key of `extra` becomes a field. What happened to services is in the event log (`henslowe events`), not here.
"""

from __future__ import annotations

import json
import logging
import sys
import traceback
from datetime import UTC, datetime
from typing import Any, Final, TextIO

from henslowe.config.settings import LogSettings

_STANDARD: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}
_VALUE_CHARS_MAX = 4_000
_COLOURS = {"WARNING": "\x1b[33m", "ERROR": "\x1b[31m", "CRITICAL": "\x1b[31;1m"}


def setup_logging(settings: LogSettings, stream: TextIO | None = None) -> logging.Handler:
    """Send the log to `stream` (default standard error) as the settings say; replaces an earlier setup."""
    stream = sys.stderr if stream is None else stream
    terminal = stream.isatty()
    text = settings.format == "text" or (settings.format == "auto" and terminal)
    handler = _NodeHandler(stream)
    handler.setFormatter(TextFormatter(colour=terminal) if text else JsonFormatter())
    root = logging.getLogger()
    for old in [each for each in root.handlers if isinstance(each, _NodeHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)  # libraries speak from WARNING on, which is the root's level; Henslowe as it is set
    logging.getLogger("henslowe").setLevel(settings.level)
    return handler


class _NodeHandler(logging.StreamHandler[TextIO]):
    """Ours among the root logger's handlers."""


def fields_of(record: logging.LogRecord) -> dict[str, Any]:
    """What was given as `extra`."""
    return {key: value for key, value in record.__dict__.items() if key not in _STANDARD}


class TextFormatter(logging.Formatter):
    """`12:03:04.123 INFO    instance_ready  version=hello@3 took_s=0.4`, then the traceback, if any."""

    def __init__(self, *, colour: bool = False) -> None:
        super().__init__()
        self.colour = colour

    def format(self, record: logging.LogRecord) -> str:
        """One line, longer only by a traceback."""
        time = datetime.fromtimestamp(record.created).astimezone().strftime("%H:%M:%S.%f")[:-3]
        level = f"{record.levelname:<7}"
        if self.colour and record.levelname in _COLOURS:
            level = f"{_COLOURS[record.levelname]}{level}\x1b[0m"
        line = f"{time} {level} {_one_line(record.getMessage())}"
        fields = "".join(f" {key}={_value(value)}" for key, value in fields_of(record).items())
        return f"{line} {fields}{_trace(record)}" if fields else f"{line}{_trace(record)}"


class JsonFormatter(logging.Formatter):
    """One JSON object a line: `time`, `level`, `logger`, `event`, then the fields (never over these four)."""

    def format(self, record: logging.LogRecord) -> str:
        """One line, whatever the fields hold."""
        line = fields_of(record) | {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "event": record.getMessage(),
        }
        if trace := _trace(record).strip():
            line["traceback"] = trace
        return json.dumps(line, default=str, ensure_ascii=False)


def _trace(record: logging.LogRecord) -> str:
    if record.exc_info and record.exc_info[0] is not None:
        return "\n" + "".join(traceback.format_exception(*record.exc_info)).rstrip()
    return ""


def _value(value: Any) -> str:
    text = str(value)[:_VALUE_CHARS_MAX]
    return _one_line(text) if text and not any(c.isspace() or c in "\"'=" for c in text) else json.dumps(text)


def _one_line(text: str) -> str:
    """The text without what would start a new line or steer the terminal."""
    return "".join(c if c.isprintable() else f"\\x{ord(c):02x}" for c in text)
