"""Talks to a node's admin API: JSON over its Unix socket, or over TCP with the token, and its event stream.

The standard library's HTTP client, on purpose: a command that asks one question should not import a web framework.
"""

from __future__ import annotations

import http.client
import json
import os
import socket
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote, urlencode, urlsplit

from henslowe import errors
from henslowe.cli.locate import unreachable
from henslowe.config.node_file import NodeFile
from henslowe.errors import ConfigError, HensloweError

V1 = "/admin/v1"
STREAM_SILENCE_S = 60.0
"""An event stream that says nothing for so long is dead: the node sends keepalives far more often."""


class ServerEvent(NamedTuple):
    """One Server-Sent Event; `data` is "" for a keepalive that only moves the cursor."""

    id: str
    type: str
    data: str


class NodeClient:
    """Asks one node. Each question is one connection; nothing stays open but an event stream.

    Raises (every method):
        NodeUnreachable: Nobody answers.
        HensloweError: The node refused; the same class as in the node, by its code.
    """

    def __init__(self, node: NodeFile, timeout_s: float = 60.0) -> None:
        self.node = node
        self._timeout_s = timeout_s

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """The JSON reply of a GET below `/admin/v1`; None values are left out of the query."""
        return self._ask("GET", V1 + path + _query(query))

    def download(self, path: str, /, **query: Any) -> bytes:
        """The body of a GET below `/admin/v1`, as it is."""
        return self._read("GET", V1 + path + _query(query))

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """The JSON reply of a POST below `/admin/v1`."""
        return self._ask("POST", V1 + path, json.dumps({k: v for k, v in (body or {}).items() if v is not None}))

    def put(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
        """The JSON reply of a PUT below `/admin/v1`."""
        return self._ask("PUT", V1 + path, json.dumps(body), headers)

    def patch(self, path: str, body: Mapping[str, Any], headers: Mapping[str, str]) -> dict[str, Any]:
        """The JSON reply of a PATCH below `/admin/v1`."""
        return self._ask("PATCH", V1 + path, json.dumps(body, default=str), headers)

    def delete(self, path: str, headers: Mapping[str, str]) -> dict[str, Any]:
        """The JSON reply of a DELETE below `/admin/v1`."""
        return self._ask("DELETE", V1 + path, None, headers)

    def post_lines(self, path: str, body: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """The objects of a POST's answer in JSON Lines, as they come; leaving the iterator closes the connection."""
        connection, response = self._open("POST", V1 + path, json.dumps(body), {}, None)
        try:
            if response.status >= 400:
                raise _error_of(response.status, response.read())
            for line in response:
                if line.strip():
                    yield json.loads(line)
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(self.node, _cause(error)) from error
        finally:
            connection.close()

    def stream(self, path: str, last_id: str = "", **query: Any) -> Iterator[ServerEvent]:
        """The events of a stream until the node ends it."""
        headers = {"Accept": "text/event-stream"} | ({"Last-Event-ID": last_id} if last_id else {})
        connection, response = self._open("GET", V1 + path + _query(query), None, headers, STREAM_SILENCE_S)
        try:
            if response.status != 200:
                raise _error_of(response.status, response.read())
            yield from parse_stream(response)
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(self.node, _cause(error)) from error
        finally:
            connection.close()

    def _read(
        self, method: str, target: str, body: str | None = None, headers: Mapping[str, str] | None = None
    ) -> bytes:
        connection, response = self._open(method, target, body, dict(headers or {}), self._timeout_s)
        try:
            content = response.read()
        except (OSError, http.client.HTTPException) as error:
            raise unreachable(self.node, _cause(error)) from error
        finally:
            connection.close()
        if response.status >= 400:
            raise _error_of(response.status, content)
        return content

    def _ask(
        self, method: str, target: str, body: str | None = None, headers: Mapping[str, str] | None = None
    ) -> dict[str, Any]:
        content = self._read(method, target, body, headers)
        try:
            value = json.loads(content)
        except ValueError as error:
            raise HensloweError(f"expected JSON from {target}, got: {content[:80]!r}") from error
        assert isinstance(value, dict), "the admin API answers with objects"
        return value

    def _open(
        self, method: str, target: str, body: str | None, headers: dict[str, str], timeout_s: float | None
    ) -> tuple[http.client.HTTPConnection, http.client.HTTPResponse]:
        if body is not None:
            headers = headers | {"Content-Type": "application/json"}
        connection = connection_to(self.node, timeout_s)
        if not isinstance(connection, SocketConnection):
            headers = headers | {"Authorization": f"Bearer {read_token_of(self.node)}"}
        try:
            connection.request(method, target, body, headers)
            return connection, connection.getresponse()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise unreachable(self.node, _cause(error)) from error


class SocketConnection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str, timeout_s: float | None) -> None:
        super().__init__("localhost", timeout=timeout_s)
        self._path = path

    def connect(self) -> None:
        """Connect to the socket's path."""
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def connection_to(node: NodeFile, timeout_s: float | None) -> http.client.HTTPConnection:
    """A connection over the node's socket, else, where that is gone, to its address."""
    if node.socket and os.access(node.socket, os.W_OK):  # it may have been tidied away, or be another user's
        return SocketConnection(node.socket, timeout_s)
    parts = urlsplit(node.url)
    assert parts.hostname is not None, "a node announces the URL it listens on"
    made = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    return made(parts.hostname, parts.port, timeout=timeout_s)


def read_token_of(node: NodeFile) -> str:
    """The node's token.

    Raises:
        ConfigError: Its file is gone or cannot be read.
    """
    from henslowe.transport.tokens import read_token

    try:
        return read_token(Path(node.token_file))
    except FileNotFoundError as error:
        raise ConfigError(
            f"cannot read the token file {node.token_file}: it is gone", hint="restart the node: it makes a new one"
        ) from error


def service_path(service: str) -> str:
    """The path of a service below `/admin/v1`."""
    return f"/services/{quote(service, safe='')}"


def parse_stream(response: http.client.HTTPResponse) -> Iterator[ServerEvent]:
    """The events in a `text/event-stream` body. Source: HTML Living Standard, section 9.2.6."""
    event_id, kind, data = "", "", list[str]()
    for raw in response:
        line = raw.decode(errors="replace").rstrip("\r\n")
        if not line:
            if data or event_id:
                yield ServerEvent(event_id, kind, "\n".join(data))
            kind, data = "", []
            continue
        name, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if name == "id":
            event_id = value
        elif name == "event":
            kind = value
        elif name == "data":
            data.append(value)


def _query(values: Mapping[str, Any]) -> str:
    given = {key: value for key, value in values.items() if value not in (None, (), "")}
    return "?" + urlencode(given, doseq=True) if given else ""


def _error_of(status: int, content: bytes) -> HensloweError:
    try:
        return errors.revived(json.loads(content)["error"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return HensloweError(f"expected an answer of the admin API, got: status {status}, {content[:80]!r}")


def _cause(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__
