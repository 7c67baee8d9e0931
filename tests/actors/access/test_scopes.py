"""Which scopes cover which."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from henslowe.actors.access import check_scopes, covers
from henslowe.actors.access.scopes import any_service, covers_all, is_scope
from henslowe.errors import ConfigError

ALL = ["mcp", "mcp:a", "mcp:b", "admin", "admin:read", "admin:write", "admin:services", "admin:tokens"]
scopes = st.sampled_from(ALL)


@pytest.mark.parametrize(
    ("held", "needed", "enough"),
    [
        ({"mcp"}, "mcp:files", True),
        ({"mcp:files"}, "mcp:files", True),
        ({"mcp:files"}, "mcp", False),
        ({"mcp:file"}, "mcp:files", False),
        ({"mcp:files"}, "mcp:file", False),
        ({"admin"}, "admin:tokens", True),
        ({"admin:write"}, "admin:read", True),
        ({"admin:read"}, "admin:write", False),
        ({"admin:write"}, "admin:tokens", False),
        ({"admin:write"}, "admin:services", False),
        ({"admin:services"}, "admin:write", False),
        ({"admin:tokens"}, "admin:read", False),
        ({"mcp"}, "admin:read", False),
        ({"admin"}, "mcp:files", False),
        (set(), "mcp", False),
    ],
)
def test_a_scope_covers_itself_and_what_is_below_it(held: set[str], needed: str, enough: bool) -> None:
    assert covers(held, needed) is enough


@given(st.sets(scopes), st.sets(scopes), scopes)
def test_more_scopes_never_open_less(held: set[str], more: set[str], needed: str) -> None:
    assert covers(held | more, needed) or not covers(held, needed)


@given(st.sets(scopes), st.sets(scopes), scopes)
def test_what_is_covered_opens_nothing_new(held: set[str], others: set[str], needed: str) -> None:
    given_on = {scope for scope in others if covers(held, scope)}
    assert covers(held, needed) or not covers(given_on, needed)


def test_a_service_is_enough_for_the_aggregate() -> None:
    assert any_service({"mcp:a"})
    assert any_service({"mcp"})
    assert not any_service({"admin"})
    assert covers_all({"mcp", "admin"}, ALL)


@pytest.mark.parametrize("text", ["", "root", "mcp:", "mcp:A", "mcp:a b", "admin:*", "*", "mcp:a:b", "mcp\n", "admin:"])
def test_what_is_no_scope_is_refused(text: str) -> None:
    assert not is_scope(text)
    with pytest.raises(ConfigError, match="expected scopes of mcp"):
        check_scopes(["mcp", text])


def test_scopes_are_sorted_and_once() -> None:
    assert check_scopes(["mcp:b", "admin:read", "mcp:b"]) == ("admin:read", "mcp:b")
    with pytest.raises(ConfigError):
        check_scopes([])
