"""The admin routes of services as data: their `service.toml` read, written, changed by key, and set aside.

What follows from a change is not done here: the watcher sees the file, as after an edit by hand.
"""

from __future__ import annotations

import asyncio
import time
import tomllib
from pathlib import Path
from typing import Final

from aiohttp import web

from henslowe.actors.ids import service_name
from henslowe.actors.journal import say
from henslowe.actors.vocabulary import EventType, Status
from henslowe.config.manifest import ServiceFolders, ServiceText
from henslowe.errors import BadRequest, Conflict, NotFound
from henslowe.transport.admin.answers import json_response
from henslowe.transport.admin.edge import Call
from henslowe.transport.admin.models.base import Reply
from henslowe.transport.admin.models.manifests import (
    ManifestReply,
    PatchManifestRequest,
    PutManifestRequest,
    RemovedReply,
)

NOTICED_S: Final = 5.0
"""Longest wait for the watcher to see that a folder is gone."""
_LOOK_S: Final = 0.05


async def show(call: Call) -> Reply | web.StreamResponse:
    """The file as it is."""
    found = await asyncio.to_thread(_folders(call).read, _name(call))
    return _reply(found)


async def put(call: Call) -> Reply | web.StreamResponse:
    """All of the file: a new service, or another text for one."""
    body = call.body
    assert isinstance(body, PutManifestRequest)
    folders, name = _folders(call), _name(call)
    if call.request.headers.get("If-None-Match", "").strip() == "*":
        done = await asyncio.to_thread(folders.add, name, body.text)
    else:
        expected = _expected(call.request)
        done = await asyncio.to_thread(lambda: folders.write(name, body.text, expected=expected))
    _said(call, "service add" if done.created else "service set")
    return _reply(done, 201 if done.created else 200)


async def patch(call: Call) -> Reply | web.StreamResponse:
    """Some keys of the file."""
    body = call.body
    assert isinstance(body, PatchManifestRequest)
    if not body.set and not body.remove:
        raise BadRequest("expected a key to set or to remove, got: none")
    folders, name, expected = _folders(call), _name(call), _expected(call.request)
    done = await asyncio.to_thread(lambda: folders.edit(name, body.set, body.remove, expected=expected))
    _said(call, "service set")
    return _reply(done)


async def remove(call: Call) -> Reply | web.StreamResponse:
    """Set the folder aside, and end what serves."""
    name, expected = _name(call), _expected(call.request)
    folders = _folders(call)
    kept = await asyncio.to_thread(lambda: folders.set_aside(name, expected=expected))
    _said(call, "service remove")
    return RemovedReply(service=name, kept_at=str(kept), retired=await _retire(call, name))


async def _retire(call: Call, name: str) -> bool:
    """Have the version machine end it, once the watcher sees that its folder is gone; whether there was anything."""
    deadline_s = time.monotonic() + NOTICED_S
    while True:
        try:
            await call.admin.view.command(name, "remove", by=call.by, reason="its service.toml was removed")
        except NotFound:
            return False
        except Conflict:
            if time.monotonic() >= deadline_s:
                raise
            await asyncio.sleep(_LOOK_S)
        else:
            return True


def _folders(call: Call) -> ServiceFolders:
    return call.admin.folders


def _name(call: Call) -> str:
    return service_name(call.path("service"))


def _expected(request: web.Request) -> str:
    """The etag that the file must have; "" for any."""
    given = request.headers.get("If-Match", "").strip()
    return given.removeprefix("W/").strip('"')


def _said(call: Call, command: str) -> None:
    say(EventType.COMMAND, Status.SUCCESS, service=_name(call), command=command, by=call.by)


def _reply(found: ServiceText, status: int = 200) -> web.Response:
    try:
        values = tomllib.loads(found.text)
    except tomllib.TOMLDecodeError:
        values = {}  # a person is in the middle of an edit: the text says it all
    reply = ManifestReply(
        service=found.service,
        path=str(Path(found.folder)),
        text=found.text,
        etag=found.etag,
        values=values,
        created=found.created,
        builds=found.builds,
    )
    response = json_response(reply, status)
    response.headers["ETag"] = f'"{found.etag}"'
    return response
