"""To the bus: events to be published, and subscriptions to them."""

from __future__ import annotations

from dataclasses import dataclass

from henslowe.actors.kernel import Ref
from henslowe.storage import Event, EventDraft

# -- everyone -> bus ----------------


@dataclass(slots=True, frozen=True)
class Publish:
    """Cast to BUS (best effort, in order), or call (reply: the stored events, durable).

    `henslowe.actors.journal.say` is the short way.
    """

    events: tuple[EventDraft, ...]


@dataclass(slots=True, frozen=True)
class Subscribe:
    """Call to BUS. Reply: the subscription's number (int), which `Delivery` and `Confirm` carry.

    With `cursor` the subscription is durable: the subscriber confirms with `Confirm`, and after a crash it gets again
    what it did not confirm (at least once). Without, it is live: from now on, or from `after_seq`.
    Events arrive at `subscriber` as `Delivery` casts, in order, at most `window` unconfirmed ones at a time.
    """

    subscriber: Ref
    streams: tuple[str, ...] = ("lifecycle", "activity")
    types: tuple[str, ...] = ()
    """Patterns as of fnmatch over the event type (`CANARY_*`); empty for all."""
    services: tuple[str, ...] = ()
    cursor: str = ""
    after_seq: int | None = None
    window: int = 256


@dataclass(slots=True, frozen=True)
class Delivery:
    """Cast by BUS to a subscriber: events in order of their sequence numbers."""

    subscription: int
    events: tuple[Event, ...]


@dataclass(slots=True, frozen=True)
class Confirm:
    """Cast to BUS: everything of this subscription up to `seq` is done."""

    subscription: int
    seq: int


@dataclass(slots=True, frozen=True)
class Unsubscribe:
    """Call to BUS. Reply: None. A durable cursor stays for the next `Subscribe` with its name."""

    subscription: int
