"""The conformance suite's authorization scenarios, with a node as the resource server and the SDK's client."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from tools.conformance_auth import LEGACY, MODERN, REQUIRED, judge

NPM_BIN = os.environ.get("HENSLOWE_NPM_BIN", "")


@pytest.mark.npm
@pytest.mark.skipif(not NPM_BIN, reason="HENSLOWE_NPM_BIN does not name the folder of the npm packages' programs")
@pytest.mark.parametrize(("revision", "scenario"), [(MODERN, "auth/scope-step-up"), (LEGACY, "auth/metadata-default")])
async def test_a_node_is_found_asked_and_satisfied_as_a_resource_server(
    tmp_path: Path, revision: str, scenario: str
) -> None:
    """One of each revision; `make conformance` runs all that are required."""
    assert scenario in REQUIRED[revision]
    passed, said = await asyncio.to_thread(judge, Path(NPM_BIN).absolute(), revision, scenario, tmp_path)
    assert passed, said[-3_000:]
