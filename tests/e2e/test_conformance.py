"""The MCP project's own conformance suite, against services behind a node: both eras, and the Tasks extension."""

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest

from tools.conformance import TARGETS, run

NPM_BIN = os.environ.get("HENSLOWE_NPM_BIN", "")


@pytest.mark.npm
@pytest.mark.skipif(not NPM_BIN, reason="HENSLOWE_NPM_BIN does not name the folder of the npm packages' programs")
@pytest.mark.timeout(180)
async def test_services_behind_a_node_meet_every_required_scenario(tmp_path: Path) -> None:
    """The quickest target; `make conformance` runs them all, for minutes."""
    judged = [replace(target, tasks=False) for target in TARGETS if target.name == "bare"]
    scores = await asyncio.to_thread(lambda: list(run(Path(NPM_BIN).absolute(), judged, tmp_path)))
    assert {(target.name, revision): score.failed - target.excused for target, revision, score in scores} == {
        (target.name, judgement): frozenset() for target in judged for judgement in target.judgements()
    }
    assert all(len(score.passed | score.failed) == target.judgements()[which] for target, which, score in scores)
