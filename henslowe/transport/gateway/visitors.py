"""Who calls, for routes whose services care: made only while there is such a route.

A stateless request says who it is by itself. A session's requests are told apart by its id, so what was learned of it
is remembered with that id: the headers of its last request, and whose it is.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Final

from aiohttp import web

from henslowe.actors.ids import VersionKey
from henslowe.actors.routes import Arm, Route, RouteTable
from henslowe.actors.variants import Visitor
from henslowe.transport.access.asker import asker
from henslowe.transport.gateway.sticky import StickyKeys, Unit, session_unit

SESSIONS_MAX: Final = 10_000
"""Sessions that are remembered; one that is forgotten is known again at its next request."""


class Visitors:
    """Makes units, with who is behind them where somebody asks. Runs in: the node's loop.

    Args:
        routes: The published routes.
        sticky: Units of stateless clients.
    """

    def __init__(self, routes: RouteTable, sticky: StickyKeys) -> None:
        self._routes = routes
        self._sticky = sticky
        self._sessions: OrderedDict[str, Visitor] = OrderedDict()

    def stateless(self, request: web.Request, client_info: Any) -> Unit:
        """The unit of a stateless request."""
        unit = self.unasked(asker(request).name, client_info, request.remote or "")
        return unit._replace(visitor=self._visitor(request, client_info)) if self._routes.ruled else unit

    @property
    def asked(self) -> bool:
        """Whether any route asks who calls."""
        return self._routes.ruled

    def unasked(self, principal: str, client_info: Any, peer: str) -> Unit:
        """The unit of a stateless request where no route asks."""
        return self._sticky.unit(principal, client_info, peer)

    def seen(self, session_id: str, request: web.Request, client_info: Any) -> None:
        """A request of a session came."""
        if self._routes.ruled:
            self._sessions[session_id] = self._visitor(request, client_info)
            self._sessions.move_to_end(session_id)
            if len(self._sessions) > SESSIONS_MAX:
                self._sessions.popitem(last=False)

    def session(self, session_id: str) -> Unit:
        """The unit of a session."""
        unit = session_unit(session_id)
        return unit._replace(visitor=self._sessions.get(session_id)) if self._routes.ruled else unit

    def _visitor(self, request: web.Request, client_info: Any) -> Visitor:
        client = self._sticky.client(client_info, request.remote or "")
        return Visitor(asker(request).name, client, request.headers)


def pick(route: Route, unit: Unit) -> tuple[Arm, VersionKey]:
    """The arm and version for a unit, by its caller's choice if the route has a say for it."""
    rule, visitor = route.rule, unit.visitor
    if rule is None or visitor is None:
        return route.pick(unit.key)
    chosen = rule.chosen(visitor)
    if chosen is None or route.canary is None:
        return route.pick(rule.unit(visitor, *unit[:2])[0])
    return (Arm.CANARY, route.canary) if chosen else (Arm.STABLE, route.stable)


def counted(route: Route, unit: Unit) -> tuple[str, bool, bool]:
    """How a call counts: the unit's name, whether it stays, and whether its caller chose the arm."""
    rule, visitor = route.rule, unit.visitor
    if rule is None or visitor is None:
        return unit.key, unit.is_session, False
    key, stays = rule.unit(visitor, unit.key, unit.is_session)
    return key, stays, rule.chosen(visitor) is not None
