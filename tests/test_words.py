"""Numbers with their words."""

from __future__ import annotations

from henslowe.words import counted, differ, fail


def test_one_is_no_plural() -> None:
    assert [counted(count, "call") for count in (0, 1, 2)] == ["0 calls", "1 call", "2 calls"]
    assert [counted(count, "try", "tries") for count in (1, 2)] == ["1 try", "2 tries"]
    assert [fail(1), fail(2), differ(1), differ(2)] == ["1 fails", "2 fail", "1 differs", "2 differ"]
