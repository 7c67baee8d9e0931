"""What a crew needs to become what is wanted: whom to start, whom to let go. Pure.

Nobody is let go before somebody else can do his work: one that is to be replaced stays until its successor is up.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from henslowe.actors.ids import InstanceId
from henslowe.actors.instances.crew import Crew, Duty, Member


@dataclass(slots=True, frozen=True)
class Plan:
    """How many to start, and the slots of those to let go."""

    start: int = 0
    release: tuple[int, ...] = ()


def plan(crew: Crew, sessions_at: Callable[[InstanceId], int] = lambda _instance: 0) -> Plan:
    """What to do next; nothing when the crew is as wanted. An instance that few sessions stay with goes first."""
    wanted = crew.serving + crew.standby
    there = [member for member in crew.members.values() if member.duty is not Duty.DRAINING]
    staying = [member for member in there if not member.retiring]
    by_use = sorted(staying, key=lambda member: _first_to_go(member, sessions_at(member.instance)))
    surplus = by_use[: max(0, len(staying) - wanted)]
    able = sum(member.able for member in staying) - sum(member.able for member in surplus)
    release = [member.slot for member in surplus]
    if able >= wanted:
        release += [member.slot for member in there if member.retiring]
    return Plan(max(0, wanted - len(staying)), tuple(release))


def _first_to_go(member: Member, sessions: int) -> tuple[int, int, int, int]:
    """Who does nothing yet goes before who stands by, who has little to do before who has much, the newest first."""
    order = {Duty.DOWN: 0, Duty.STARTING: 0, Duty.STANDBY: 1}
    in_flight = member.endpoint.in_flight if member.able and member.endpoint is not None else 0
    return order.get(member.duty, 2), sessions, in_flight, -member.slot
