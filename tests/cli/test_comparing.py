"""`henslowe why` of a version that failed captured calls."""

from __future__ import annotations

from tests.cli.conftest import Henslowe
from tests.transport.admin.background import Background

REPORT = {
    "paths": [],
    "examples": [{"tool": "look", "path": "(outcome)", "old": "ok", "new": "crash: it ended", "capture": 6}],
}


def test_why_tells_of_the_captured_calls_that_a_version_failed(node: Background, henslowe: Henslowe) -> None:
    found = {"against": 4, "short": True, "found": "fails", "why": "4 of 4 fail on this version only", "report": REPORT}
    node.say("lifecycle", "ROLLBACK", "SUCCESS", "hello", 5, by="ann", why="she did not like it")
    assert "no version of hello was taken back" in henslowe("why", "hello").out
    row = {"rehearsal": found}
    node.say("lifecycle", "ROLLBACK", "SUCCESS", "hello", 6, by="replay", why=found["why"], row=row)
    run = henslowe("why", "hello")
    assert "hello v6 was taken back" in run.out
    assert "4 of 4 fail on this version only" in run.out
    assert "look: (outcome)  v4 'ok', now 'crash: it ended'  (henslowe captures show 6)" in run.out
    assert "by         the replay of captured calls" in run.out
    assert henslowe("why", "hello", "--json").json["decision"]["version"] == 6
