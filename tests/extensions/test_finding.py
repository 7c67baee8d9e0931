"""Extensions are found without being imported, and each that cannot be used is refused with its reason."""

from __future__ import annotations

from pathlib import Path

import pytest

from henslowe.actors.interceptors import Interceptors, Kind, Operation
from henslowe.actors.modules import ModuleState
from henslowe.config.settings import ModuleSettings, Settings
from henslowe.errors import Conflict
from henslowe.extensions.finding import find
from henslowe.node_extensions import Extensions
from tests.extensions.bringing import points

SINKS, HANDLERS, STATE = "henslowe.persistence", "henslowe.protocol_handlers", "henslowe.state_managers"


def found_in(tmp_path: Path, disabled: tuple[str, ...] = (), **named: tuple[str, str]) -> Extensions:
    settings = Settings(workspace=tmp_path, modules=ModuleSettings(disabled=disabled))
    return Extensions(settings, tmp_path / "data", points(**named))


@pytest.mark.parametrize(
    ("group", "value", "why"),
    [
        (SINKS, "Missing", "AttributeError"),
        (SINKS, "exits", "SystemExit: 7"),
        (SINKS, "Old", "expected tests.extensions.bringing:Old to have api_version 1, got 0"),
        (SINKS, "NoSink", "to be a persistence, but it has no streams, write"),
        (HANDLERS, "TakesTools", "expected methods that MCP does not have, such as acme/inventory, got 'tools/call'"),
        (STATE, "ForeignTable", "expected tables of the name x or x_..., got services"),
    ],
)
def test_what_cannot_be_used_is_refused_and_says_why(tmp_path: Path, group: str, value: str, why: str) -> None:
    (info,) = found_in(tmp_path, x=(group, value)).board.troubled()
    assert info.state is ModuleState.REFUSED
    assert why in info.reason


def test_two_of_one_name_are_both_refused() -> None:
    both = [*points(x=(SINKS, "Sink"))(SINKS), *points(x=(HANDLERS, "Echo"))(HANDLERS)]
    found = find((), lambda group: [each for each in both if each.group == group])
    assert [each.refused for each in found] == ["expected one extension of this name, got 2; uninstall the others"] * 2


def test_two_for_one_method_leave_it_to_the_first(tmp_path: Path) -> None:
    extensions = found_in(tmp_path, a=(HANDLERS, "Echo"), b=(HANDLERS, "Echo"))
    assert [(each.found.name, each.reason) for each in extensions.board.troubled()] == [
        ("b", "expected methods of its own, got acme/echo, which a has")
    ]


def test_one_that_is_not_wanted_is_not_imported_and_no_trouble(tmp_path: Path) -> None:
    extensions = found_in(tmp_path, ("x",), x=(SINKS, "exits"))
    assert extensions.board.infos["x"].state is ModuleState.REFUSED
    assert extensions.board.troubled() == []


def test_a_tool_does_not_take_the_name_of_a_service(tmp_path: Path) -> None:
    (tmp_path / "dev" / "words").mkdir(parents=True)
    extensions = found_in(tmp_path, words=("henslowe.tools", "whatever"), other=("henslowe.tools", "whatever"))
    assert list(extensions.services) == ["other"]
    assert extensions.board.infos["words"].reason.startswith("there is another service words")


async def test_a_guard_that_cannot_be_had_refuses_everything_until_it_is_disabled(tmp_path: Path) -> None:
    guard = ("henslowe.interceptors", "Old")
    for disabled in ((), ("guard",)):
        interceptors = Interceptors()
        await found_in(tmp_path, disabled, guard=guard).intercept(interceptors)
        if disabled:
            await interceptors.before(Operation(Kind.DEPLOY))
        else:
            with pytest.raises(Conflict, match=r"extension guard cannot be asked: expected .* api_version 1, got 0"):
                await interceptors.before(Operation(Kind.DEPLOY))


async def test_a_guard_is_asked(tmp_path: Path) -> None:
    interceptors = Interceptors()
    await found_in(tmp_path, guard=("henslowe.interceptors", "Guard")).intercept(interceptors)
    with pytest.raises(Conflict, match="interceptor 'guard': no restore"):
        await interceptors.before(Operation(Kind.RESTORE))
