"""`henslowe token ...`, over a node's socket and in a data directory where no node runs."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from henslowe.cli.token import seconds_of
from henslowe.errors import ConfigError
from henslowe.storage import Store
from tests.cli.conftest import Henslowe
from tests.transport.admin.background import background

TOKEN = re.compile(r"hns_[0-9a-f]{12}_[A-Za-z0-9_-]{43}")


@pytest.fixture(params=["running", "stopped"])
def place(request: pytest.FixtureRequest, workspace: Path) -> Iterator[str]:
    """Where the tokens are kept by a node, or by nobody just now."""
    if request.param == "stopped":
        yield request.param
        return
    with background(workspace):
        yield request.param


def test_a_token_is_made_listed_rotated_and_revoked(place: str, henslowe: Henslowe) -> None:
    run = henslowe("token", "create", "ci", "--scope", "mcp:hello", "--scope", "admin:read", "--expires", "30d")
    assert run.exit_code == 0, run.err
    assert TOKEN.fullmatch(run.out.splitlines()[0])
    assert "it is not shown again" in run.out
    listed = henslowe("token", "list")
    assert listed.exit_code == 0
    assert re.search(r"ci\s+admin:read mcp:hello\s+in 29 d 23 h\s+never used\s+local:", listed.out)
    assert not TOKEN.search(listed.out)
    rotated = henslowe("token", "rotate", "ci", "--grace", "10m", "--json").json
    assert TOKEN.fullmatch(rotated["token"])
    assert rotated["token"] != run.out.splitlines()[0]
    assert rotated["old_secret_until_s"] > 0
    assert henslowe("token", "revoke", "ci").out.startswith("ci is revoked")
    assert henslowe("token", "list", "--json").json == {"tokens": []}


def test_what_is_wrong_is_said_with_what_to_do(place: str, henslowe: Henslowe) -> None:
    assert henslowe("token", "create", "ci").exit_code == 0
    for args, code, words in (
        (("create", "ci"), 1, "there is one of that name"),
        (("create", "Bad Name"), 2, "token's name"),
        (("create", "x", "--scope", "root"), 2, "expected scopes of"),
        (("create", "x", "--expires", "soon"), 2, "--expires: expected a number"),
        (("revoke", "gone"), 2, "cannot find token 'gone'"),
        (("rotate", "gone"), 2, "cannot find token 'gone'"),
        (("rotate", "ci", "--grace", "99d"), 2, "grace"),
    ):
        run = henslowe("token", *args)
        assert (run.exit_code, run.out) == (code, ""), run.err
        assert words in run.err, run.err


def test_a_token_itself_is_not_taken_for_a_name_and_not_repeated(place: str, henslowe: Henslowe) -> None:
    token = henslowe("token", "create", "ci", "--json").json["token"]
    run = henslowe("token", "revoke", token)
    assert run.exit_code == 2
    assert token not in run.err


def test_a_token_that_was_made_before_the_first_start_is_good_after_it(workspace: Path, henslowe: Henslowe) -> None:
    made = henslowe("token", "create", "early", "--expires", "never", "--json").json
    assert made["expires_s"] is None
    with background(workspace):
        (listed,) = henslowe("token", "list", "--json").json["tokens"]
        assert (listed["name"], listed["id"], listed["state"]) == ("early", made["id"], "good")
    (kept,) = henslowe("token", "list", "--json").json["tokens"]
    assert kept == listed


def test_a_data_directory_that_another_process_holds_is_left_alone(workspace: Path, henslowe: Henslowe) -> None:
    store = Store.open(workspace / ".henslowe", "n1")
    try:
        run = henslowe("token", "create", "ci")
        assert run.exit_code == 1
        assert "cannot" in run.err
    finally:
        store.close()


@pytest.mark.parametrize(
    ("text", "seconds"), [("0s", 0), ("90s", 90), ("10m", 600), ("12h", 43_200), ("30d", 2_592_000), ("1y", 31_536_000)]
)
def test_durations_are_a_number_and_a_unit(text: str, seconds: float) -> None:
    assert seconds_of(text, "--expires") == seconds


@pytest.mark.parametrize("text", ["", "d", "30", "30 d", "-1d", "1.5h", "9999999999d", "1d2h", "٣d"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ConfigError, match="--expires: expected a number with one of s, m, h, d, w, y"):
        seconds_of(text, "--expires")
