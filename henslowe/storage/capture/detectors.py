"""What a secret looks like in text: known shapes, checksummed numbers, and long strings of chance. Pure.

A detector is a name and a pattern; the name becomes part of the marker, so that a reader knows what was there. Patterns
have literal beginnings where the secret has one: most text is passed over without a match being tried.

Not here: which names of fields are secret, and what is put in a secret's place (`redaction`).
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True, slots=True)
class Detector:
    """One kind of secret.

    Attributes:
        name: Part of the marker.
        pattern: Finds it; the group `secret` is what is replaced, else the whole match.
        hints: The text is searched only if it contains one of these; () to search always.
    """

    name: str
    pattern: re.Pattern[str]
    hints: tuple[str, ...] = ()


_WORD_BEFORE: Final = r"(?<![A-Za-z0-9_])"

DETECTORS: Final = (
    Detector(
        "private-key",
        # To the end of the text where its end was cut off.
        re.compile(r"-----BEGIN [A-Z0-9 ]*PRIVATE KEY(?: BLOCK)?-----.*?(?:-----END [A-Z0-9 ]*-----|\Z)", re.DOTALL),
        ("PRIVATE KEY",),
    ),
    Detector("jwt", re.compile(r"eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"), ("eyJ",)),
    Detector(
        "bearer",
        re.compile(r"(?i:\b(?:bearer|basic)) +(?P<secret>[A-Za-z0-9._~+/=-]{8,})"),
        ("earer ", "EARER ", "asic ", "ASIC "),
    ),
    Detector(
        "aws-key",
        re.compile(_WORD_BEFORE + r"(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{16}(?![A-Z0-9])"),
        ("AKIA", "ASIA", "ABIA", "ACCA"),
    ),
    Detector(
        "github-token",
        re.compile(_WORD_BEFORE + r"(?:gh[oprsu]_[A-Za-z0-9]{20,}|github_pat_[A-Za-z0-9_]{20,})"),
        ("gho_", "ghp_", "ghr_", "ghs_", "ghu_", "github_pat_"),
    ),
    Detector("gitlab-token", re.compile(_WORD_BEFORE + r"glpat-[A-Za-z0-9_-]{16,}"), ("glpat-",)),
    Detector("slack-token", re.compile(_WORD_BEFORE + r"xox[abeoprs]-[A-Za-z0-9-]{10,}"), ("xox",)),
    Detector("google-key", re.compile(_WORD_BEFORE + r"AIza[A-Za-z0-9_-]{35}"), ("AIza",)),
    Detector(
        "api-key",
        re.compile(_WORD_BEFORE + r"(?:[sr]k_(?:live|test)_[A-Za-z0-9]{16,}|sk-[A-Za-z0-9_-]{20,})"),
        ("sk_", "rk_", "sk-"),
    ),
    Detector(
        "registry-token",
        re.compile(_WORD_BEFORE + r"(?:npm_[A-Za-z0-9]{30,}|pypi-[A-Za-z0-9_-]{30,})"),
        ("npm_", "pypi-"),
    ),
    Detector("url-password", re.compile(r"://[^\s/:@]{0,80}:(?P<secret>[^\s/@]{1,200})@"), ("://",)),
)

ASSIGNED_WORDS: Final = (
    "access[_-]?key", "api[_-]?key", "authorization", "cookie", "credentials?", "passphrase", "passwd", "password",
    "private[_-]?key", "secret", "token",
)  # fmt: skip
_ASSIGNED: Final = re.compile(
    rf"""(?i)(?:{"|".join(ASSIGNED_WORDS)})(?:\\?["'])?\s*[:=]\s*"""
    r"""(?:\\?["'](?P<quoted>[^"'\\\n]{2,400})|(?P<bare>[^\s"'\\,;&\[\]{}()<>]{4,400}))"""
)
_ASSIGNED_HINTS: Final = ("key", "auth", "credential", "pass", "secret", "cookie", "token")

EMAIL: Final = Detector(
    "email", re.compile(r"[A-Za-z0-9._%+-]{1,64}@[A-Za-z0-9-]{1,63}(?:\.[A-Za-z0-9-]{1,63})+"), ("@",)
)

_CARD: Final = re.compile(r"[3-6][0-9](?:[ -]?[0-9]){11,17}(?![0-9A-Za-z])")
_CARD_DIGITS_MIN, _CARD_DIGITS_MAX = 13, 19

_HEX: Final = re.compile(r"[0-9a-fA-F-]+\Z")
_DIGIT: Final = re.compile("[0-9]")
_LETTER: Final = re.compile("[A-Za-z]")
_RUN: Final = re.compile("[a-z]+|[A-Z]+|[0-9]+")
RUN_CHARS_MAX: Final = 4
"""Characters of one kind in a row, on average: names have longer words."""
COLLISIONS_MAX: Final = 0.044
"""Chance that two characters of a word are equal: 1/36 to 1/64 for what is drawn, 1/20 and more for what has words in
it. Measured with the other rules: 4 of 1,000 long words in the sources of Python's library are taken for secrets, and
98 % (of lower case alone 90 %) of random keys of 24 characters."""


def assignments(text: str) -> list[tuple[int, int]]:
    """Where `text` gives a value to something with a secret's name: `password=...`, `"token": "..."`."""
    lowered = text.lower()
    if not any(hint in lowered for hint in _ASSIGNED_HINTS):
        return []
    found = []
    for match in _ASSIGNED.finditer(text):
        group = "quoted" if match.group("quoted") is not None else "bare"
        found.append(match.span(group))
    return found


def cards(text: str) -> list[tuple[int, int]]:
    """Where `text` has numbers that payment cards may have."""
    # What is before is looked at afterwards: a pattern that begins with looking back is three times as slow.
    return [
        match.span()
        for match in _CARD.finditer(text)
        if is_card(match.group()) and not (match.start() and (text[match.start() - 1].isalnum()))
    ]


def is_card(number: str) -> bool:
    """Whether the digits in `number` are as many as a card's and pass Luhn's checksum."""
    digits = [int(char) for char in number if char.isdigit()]
    if not _CARD_DIGITS_MIN <= len(digits) <= _CARD_DIGITS_MAX or len(set(digits)) == 1:
        return False
    doubled = (2 * digit - 9 if digit > 4 else 2 * digit for digit in digits[-2::-2])
    return (sum(digits[-1::-2]) + sum(doubled)) % 10 == 0


def is_random(word: str) -> bool:
    """Whether `word` looks drawn by chance: letters and digits in turns, and hardly any of them twice.

    Collision entropy, since Shannon's is far off for short words. Digests and UUIDs are not taken for secrets:
    hexadecimal alone never is.
    """
    if _HEX.match(word) or not _DIGIT.search(word) or not _LETTER.search(word):
        return False
    if word.count("/") > len(word) // 24:  # a path
        return any(len(part) >= 20 and is_random(part) for part in word.split("/"))
    total = len(word)
    if RUN_CHARS_MAX * len(_RUN.findall(word)) < total:
        return False
    equal = sum(count * (count - 1) for count in Counter(word).values())
    return equal <= COLLISIONS_MAX * total * (total - 1)
