"""Redaction: secrets and excess out of a value before it is queued for the disk or shown to anybody. Pure.

    redactor = Redactor(settings)
    clean = redactor.redact({"city": "Bern", "api_key": "..."}, bytes_max=65_536)
    clean.value                      # {"city": "Bern", "api_key": "[redacted:api_key:len=3]"}

Three rules, each in its own right: a field with a secret's *name*, text with a secret's *shape*, and long words that
look drawn by *chance*. What is taken out leaves a marker that says what it was and how long, never a digest: a short
secret could be found from that. The same input gives the same output.

What is too long is cut after it was redacted, so that no half of a secret stays. Not here: the shapes (`detectors`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final

from henslowe.config.settings import CaptureSettings
from henslowe.storage.capture import detectors
from henslowe.storage.capture.detectors import DETECTORS, EMAIL, Detector

SECRET_NAMES: Final = (
    "accesskey", "accesstokens", "apikey", "apikeys", "apitokens", "auth", "authorization", "authtokens", "cookie",
    "cookies", "credential", "credentials", "passphrase", "passwd", "password", "passwords", "privatekey", "pwd",
    "secret", "secretkey", "secrets", "sessionid", "token",
)  # fmt: skip
"""A name that ends with one of these, letters and digits compared, is a secret's."""
OPEN_NAMES: Final = frozenset({"nextpagetoken", "pagetoken", "progresstoken", "pwd", "synctoken"})
"""Names that end so and mean nothing secret."""
_TAILS: Final = re.compile(r"(?:value|hash|header|string|text|plain|base64|b64|\d+)\Z")
_DEPTH_MAX: Final = 64
_NAMES_MAX: Final = 4_096
_SHORT: Final = 8
"""No secret of a known shape is shorter; a name of a field may tell of one."""
_MARGIN: Final = 4_096
"""Looked at beyond what is kept, so that a secret across the cut is seen whole."""
_MARKER: Final = re.compile(r"\[(?:redacted|truncated|omitted):[A-Za-z0-9_-]{1,40}:len=\d{1,12}\]")
"""So narrow that nothing secret passes in the shape of one."""
_BINARY_FIELDS: Final = frozenset({"data", "blob"})
"""Of MCP's images, audio and resources: base64 of what nobody reads here."""


@dataclass(frozen=True, slots=True)
class Redacted:
    """A value without its secrets, how many there were, and whether something was cut off."""

    value: Any
    redactions: int
    truncated: bool


class Redactor:
    """Takes secrets out of values. Any thread; holds nothing but compiled rules and names seen."""

    def __init__(self, settings: CaptureSettings) -> None:
        more = tuple(_letters(name) for name in settings.redact_keys)
        self._secret_names = (*SECRET_NAMES, *(name for name in more if name))
        own = tuple(Detector(name, re.compile(pattern)) for name, pattern in settings.redact_patterns.items())
        self._detectors = (*own, *DETECTORS, *((EMAIL,) if settings.redact_email else ()))
        self._words = re.compile(rf"[A-Za-z0-9+/_=-]{{{settings.entropy_chars_min},}}")
        self._entropy = settings.redact_entropy
        self._names: dict[str, bool] = {}

    def redact(self, value: Any, *, bytes_max: int) -> Redacted:
        """`value` (what JSON can hold) without secrets, and cut to about `bytes_max`."""
        walk = _Walk(self, bytes_max)
        return Redacted(walk.value(value, 0), walk.redactions, walk.truncated)

    def redact_text(self, text: str) -> str:
        """One text without secrets."""
        return self.clean(text)[0]

    def is_secret_name(self, name: str) -> bool:
        """Whether a field of this name holds a secret."""
        known = self._names.get(name)
        if known is None:
            letters = _letters(name)
            bare = _TAILS.sub("", letters)
            known = letters not in OPEN_NAMES and (bare or letters).endswith(self._secret_names)
            if len(self._names) >= _NAMES_MAX:
                self._names.clear()
            self._names[name] = known
        return known

    def clean(self, text: str) -> tuple[str, int]:
        """`text` without secrets, and how many there were."""
        if len(text) < _SHORT:
            return text, 0
        found: list[tuple[int, int, str]] = []
        for detector in self._detectors:
            if detector.hints and not any(hint in text for hint in detector.hints):
                continue
            group: str | int = "secret" if "secret" in detector.pattern.groupindex else 0
            found.extend((*match.span(group), detector.name) for match in detector.pattern.finditer(text))
        found.extend((start, end, "assigned") for start, end in detectors.assignments(text))
        found.extend((start, end, "card") for start, end in detectors.cards(text))
        if self._entropy:
            found.extend(
                (*match.span(), "entropy") for match in self._words.finditer(text) if detectors.is_random(match.group())
            )
        return _replaced(text, found) if found else (text, 0)


class _Walk:
    """One pass over one value, with what is left of its budget."""

    def __init__(self, redactor: Redactor, bytes_max: int) -> None:
        self._redactor = redactor
        self._left = bytes_max
        self.redactions = 0
        self.truncated = False

    def value(self, value: Any, depth: int) -> Any:
        if isinstance(value, str):
            return self._text(value)
        if value is None or isinstance(value, bool | float):
            self._left -= 5
            return value
        if isinstance(value, int):
            self._left -= 9
            if value >= 10**12 and detectors.is_card(str(value)) and str(value)[0] in "3456":
                return self._marker("card", len(str(value)))
            return value
        if self._left <= 0 or depth > _DEPTH_MAX:
            self.truncated = True
            return (
                f"[truncated:{type(value).__name__}:len={len(value)}]" if hasattr(value, "__len__") else "[truncated]"
            )
        if isinstance(value, Mapping):
            return self._mapping(value, depth)
        if isinstance(value, Iterable) and not isinstance(value, bytes | bytearray):
            return self._items(value, depth)
        return self._text(repr(value))

    def _mapping(self, fields: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        clean: dict[str, Any] = {}
        is_secret_name = self._redactor.is_secret_name
        # {"name": "password", "value": "..."}: a header, a variable, an argument.
        named = fields.get("name", fields.get("key"))
        pair_is_secret = isinstance(named, str) and "value" in fields and is_secret_name(named)
        for name, value in fields.items():
            if self._left <= 0:
                self.truncated = True
                clean["[truncated]"] = len(fields) - len(clean)
                break
            text = name if isinstance(name, str) else str(name)
            shown = self._text(text)
            self._left -= 4
            if is_secret_name(text) or (pair_is_secret and text == "value"):
                clean[shown] = self._secret(_letters(text) if not pair_is_secret else "value", value, depth)
            elif text in _BINARY_FIELDS and isinstance(value, str) and "mimeType" in fields:
                self._left -= 32
                clean[shown] = f"[omitted:{text}:len={len(value)}]"
            else:
                clean[shown] = self.value(value, depth + 1)
        return clean

    def _items(self, items: Iterable[Any], depth: int) -> list[Any]:
        clean: list[Any] = []
        for item in items:
            if self._left <= 0:
                self.truncated = True
                clean.append("[truncated]")
                break
            self._left -= 1
            clean.append(self.value(item, depth + 1))
        return clean

    def _secret(self, name: str, value: Any, depth: int) -> Any:
        """What stands for a secret field: containers keep their shape, everything in them goes."""
        if value is None or isinstance(value, bool) or value == "":
            return value
        if isinstance(value, Mapping) and depth < _DEPTH_MAX:
            # A schema or a description of the field, not its value: {"type": "string"}.
            return {str(key): self._secret(name, each, depth + 1) for key, each in list(value.items())[:100]}
        if isinstance(value, list | tuple) and depth < _DEPTH_MAX:
            return [self._secret(name, each, depth + 1) for each in value[:100]]
        if isinstance(value, str) and _MARKER.fullmatch(value):
            return value
        return self._marker(name, len(str(value)))

    def _marker(self, kind: str, length: int) -> str:
        self.redactions += 1
        marker = f"[redacted:{kind[:40] if kind.isascii() else 'field'}:len={length}]"
        self._left -= len(marker)
        return marker

    def _text(self, text: str) -> str:
        room = max(0, self._left)
        cut = len(text) > room
        clean, redactions = self._redactor.clean(text[: room + _MARGIN] if cut else text)
        self.redactions += redactions
        if cut:
            self.truncated = True
            clean = f"{clean[:room]}[truncated:text:len={len(text)}]"
        self._left -= len(clean)
        return clean


def _replaced(text: str, found: list[tuple[int, int, str]]) -> tuple[str, int]:
    """`text` with a marker in each place, and how many; of overlapping ones the first, as far as the longest goes."""
    parts: list[str] = []
    at = 0
    kept = [match.span() for match in _MARKER.finditer(text)]
    for start, end, kind in sorted(found, key=lambda each: (each[0], -each[1])):
        if start < at:
            at = max(at, end)  # the rest of an overlapping secret
            continue
        if any(low <= start and end <= high for low, high in kept):
            continue
        parts.extend((text[at:start], f"[redacted:{kind}:len={end - start}]"))
        at = end
    return "".join((*parts, text[at:])), len(parts) // 2


def _letters(name: str) -> str:
    """The letters and digits of a name, in lower case: `X-Api_Key` and `xApiKey` are one name."""
    return "".join(char for char in name.lower() if char.isalnum())
