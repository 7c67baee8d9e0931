"""What each admin route does: a few lines between the node's view and the JSON contract.

Reads come from published snapshots and from the event log; commands are awaited, so that a reply means it happened.
"""

from __future__ import annotations

from typing import Final, get_args

from aiohttp import web
from prometheus_client import exposition

from henslowe.config.provenance import Row
from henslowe.errors import NotFound
from henslowe.transport.admin.answers import json_response
from henslowe.transport.admin.edge import Call
from henslowe.transport.admin.feed import Page, line_of, read_after, read_newest, reply_of
from henslowe.transport.admin.models.base import ActionName, LineName, Reply
from henslowe.transport.admin.models.commands import (
    AllServicesReply,
    AllServicesRequest,
    BuildReply,
    CommandReply,
    CommandRequest,
)
from henslowe.transport.admin.models.events import EventFilter, EventsQuery, EventsReply, LinesReply, LogsQuery
from henslowe.transport.admin.models.node import ConfigReply, SettingReply, StopReply
from henslowe.transport.admin.models.services import ServiceReply, ServicesReply

Answer = Reply | web.StreamResponse
ACTIONS: Final[dict[str, ActionName]] = {name: name for name in get_args(ActionName)}
LINE_ACTIONS: Final[dict[str, LineName]] = {name: name for name in get_args(LineName)}


async def livez(call: Call) -> Answer:
    """Whether the process is alive: a restart would not free a full disk."""
    health = call.admin.view.health()
    return json_response(health, 503 if health.state == "failed" else 200)


async def readyz(call: Call) -> Answer:
    """Whether traffic should be sent here."""
    ready = call.admin.view.ready()
    return json_response(ready, 200 if ready.ok else 503)


async def metrics(call: Call) -> Answer:
    """All metrics, in the form that the scraper asks for."""
    encode, content_type = exposition.choose_encoder(call.request.headers.get("Accept", ""))
    return web.Response(body=encode(call.admin.registry), headers={"Content-Type": content_type})


async def status(call: Call) -> Answer:
    """The node and all its services."""
    return call.admin.view.status()


async def tree(call: Call) -> Answer:
    """The supervision tree."""
    return await call.admin.view.tree()


async def services(call: Call) -> Answer:
    """All services."""
    return ServicesReply(services=call.admin.view.status().services)


async def service(call: Call) -> Answer:
    """One service."""
    return _service(call)


async def versions(call: Call) -> Answer:
    """The versions of one service."""
    return call.admin.view.versions(call.path("service"))


async def logs(call: Call) -> Answer:
    """Lines that the stages and instances of one service printed."""
    query = call.query
    assert isinstance(query, LogsQuery)
    wanted = EventFilter(stream=("output",), service=(_service(call).name,), version=query.version, source=query.stage)
    page = _page(call, wanted, query.since, query.limit)
    if query.version is not None and not page.events:
        _check_version(call, query.version)
    return LinesReply(lines=tuple(map(line_of, page.events)), next_since=page.after_seq, more=page.more)


async def events(call: Call) -> Answer:
    """A page of events."""
    query = call.query
    assert isinstance(query, EventsQuery)
    page = _page(call, query, query.since, query.limit)
    return EventsReply(events=tuple(map(reply_of, page.events)), next_since=page.after_seq, more=page.more)


async def config(call: Call) -> Answer:
    """The node's settings and where each came from."""
    loaded = call.admin.view.config()
    rows = tuple(setting_of(row) for row in loaded.rows())
    return ConfigReply(file=str(loaded.file or ""), settings=rows)


async def command(call: Call) -> Answer:
    """A person's command on a service."""
    body = call.body
    assert isinstance(body, CommandRequest)
    action = call.path("action")
    if action not in ACTIONS:
        raise NotFound(f"expected an action of {', '.join(ACTIONS)}, got: {action!r}", hint="see the OpenAPI document")
    done = await call.admin.view.command(
        call.path("service"),
        ACTIONS[action],
        by=call.by,
        reason=body.reason,
        to_version=body.to_version,
        expected_epoch=body.expected_epoch,
        until_s=body.until_s,
        override_freeze=body.override_freeze,
        skip_hooks=body.skip_hooks,
    )
    return CommandReply.model_validate(dict(done))


async def line(call: Call) -> Answer:
    """A person's command on all services at once."""
    body = call.body
    assert isinstance(body, AllServicesRequest)
    action = call.path("line_action")
    if action not in LINE_ACTIONS:
        known = ", ".join(LINE_ACTIONS)
        raise NotFound(f"expected an action of {known}, got: {action!r}", hint="see the OpenAPI document")
    done = await call.admin.view.line(LINE_ACTIONS[action], by=call.by, reason=body.reason, until_s=body.until_s)
    return AllServicesReply.model_validate(dict(done))


async def build(call: Call) -> Answer:
    """Run a service's pipeline again."""
    name = call.path("service")
    return BuildReply(service=name, version=await call.admin.view.rebuild(name, by=call.by))


async def stop(call: Call) -> Answer:
    """Drain and stop the node."""
    call.admin.view.stop(by=call.by)
    return StopReply()


def setting_of(row: Row) -> SettingReply:
    """A setting as the API shows it."""
    value = row.public_value
    return SettingReply(key=row.key, value=value, source=row.origin.source.value, where=row.origin.where)


def _service(call: Call) -> ServiceReply:
    return service_named(call, call.path("service"))


def _check_version(call: Call, number: int) -> None:
    """Refuse a version that there is not; one that is gone may still have what it printed."""
    name = call.path("service")
    if all(row.version != number for row in call.admin.view.versions(name).versions):
        raise NotFound(f"cannot find version {number} of {name!r}", hint=f"henslowe versions {name}")


def service_named(call: Call, name: str) -> ServiceReply:
    """The service of this name.

    Raises:
        NotFound: There is none.
    """
    for each in call.admin.view.status().services:
        if each.name == name:
            return each
    raise NotFound(f"cannot find service {name!r}: this node has none of that name", hint="henslowe status lists them")


def _page(call: Call, wanted: EventFilter, since: int | None, limit: int) -> Page:
    source = call.admin.events
    return read_newest(source, wanted, limit) if since is None else read_after(source, wanted, since, limit)
