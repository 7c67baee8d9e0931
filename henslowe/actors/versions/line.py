"""The line: what a person says of all services at once, stop and start, freeze and thaw. Pure.

One row, changed by `changed`, said in one event that carries it, found again by `replay_line`. Who waits for it:
`henslowe.actors.versions.waiting`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from henslowe.actors.messages import LineAction, LineCommand
from henslowe.actors.versions.change import Halts
from henslowe.actors.versions.replay import LoggedEvent
from henslowe.actors.versions.rows import Halt, LineRow
from henslowe.actors.vocabulary import EventType, Status, Stream
from henslowe.config.freeze import Window
from henslowe.errors import Conflict
from henslowe.storage import EventDraft, Table

_EVENTS = {
    LineAction.STOP: EventType.LINE_STOPPED,
    LineAction.START: EventType.LINE_STARTED,
    LineAction.FREEZE: EventType.FREEZE_START,
    LineAction.UNFREEZE: EventType.FREEZE_END,
}
_WORDS = {
    LineAction.STOP: "the line stands still: no service gets anything new until `henslowe start-the-line`",
    LineAction.START: "the line runs",
    LineAction.FREEZE: "all services are frozen: what is built waits, going back works",
    LineAction.UNFREEZE: "the freeze of all services has ended",
}


@dataclass(slots=True, frozen=True)
class LineChange:
    """What one commit has to contain; without an event nothing changed."""

    row: LineRow
    event: EventDraft | None
    words: str
    """For people."""


def changed(row: LineRow, message: LineCommand, now_s: float) -> LineChange:
    """What a command makes of the row. A halt that is there is not begun anew, but a freeze may get another end.

    Raises:
        Conflict: The freeze would be over before it begins.
    """
    if message.until_s is not None and message.until_s <= now_s:
        raise Conflict("cannot freeze all services: expected an end in the future, got one that is over")
    stopped, frozen = row.stopped, row.frozen
    halt = Halt(by=message.by, why=message.reason, since_s=now_s, until_s=message.until_s or 0.0)
    match message.action:
        case LineAction.STOP if stopped is None:
            stopped = halt.model_copy(update={"until_s": 0.0})
        case LineAction.START:
            stopped = None
        case LineAction.FREEZE if frozen is None or not frozen.holds(now_s) or frozen.until_s != halt.until_s:
            frozen = halt
        case LineAction.UNFREEZE:
            frozen = None
    after = row.model_copy(update={"stopped": stopped, "frozen": frozen})
    if after == row:
        return LineChange(row, None, f"nothing to do: {_WORDS[message.action]}")
    data: dict[str, Any] = {"by": message.by, "reason": message.reason, "line_row": after.model_dump(mode="json")}
    if message.action is LineAction.FREEZE:
        data["until_s"] = halt.until_s
    event = EventDraft(Stream.LIFECYCLE.value, _EVENTS[message.action].value, Status.SUCCESS.value, data=data)
    return LineChange(after, event, _WORDS[message.action])


def halts_of(table: Table[LineRow], windows: tuple[Window, ...], now_s: float) -> Halts:
    """What stops all new versions now: the row and the node's windows."""
    return Halts(table.lookup("line") or LineRow(), windows, now_s)


def replay_line(events: Iterable[LoggedEvent]) -> dict[str, LineRow]:
    """The row by its name after `events`, which are all lifecycle events in order; none where nothing was ever said."""
    rows: dict[str, LineRow] = {}
    for event in events:
        if isinstance(event.data, dict) and "line_row" in event.data:
            row = LineRow.model_validate(event.data["line_row"])
            rows[row.name] = row
    return rows
