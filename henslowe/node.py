"""The composition root: settings in, a running node out.

Everything is put together from here: sockets, store, the objects that actors share (`node_shared`), the gateway and the
admin API (`node_front`), the tree of actors (`node_planes`), the services of the configuration (`node_declared`). The
order is the order of safety: what can be refused (a taken port, a busy or newer data directory) is tried before
anything is changed, and listeners open when everything behind them stands.

What people see of the node is in `henslowe.node_view`; its life as a process in `henslowe.node_run`.
"""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import socket
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from henslowe import __version__
from henslowe.actors import names
from henslowe.actors.endpoints import EndpointDirectory
from henslowe.actors.hooks import HookBoard
from henslowe.actors.journal import draft, say
from henslowe.actors.kernel import SHUTDOWN, ActorExit, CallTimeout, Ref, Scheduler, Watchdog, sweep_orphans
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import Publish
from henslowe.actors.modules import ModuleBoard
from henslowe.actors.notices import say_notices
from henslowe.actors.pipeline import laid_out
from henslowe.actors.vocabulary import EventType, Status, Stream
from henslowe.config.listen import Address, check_listen
from henslowe.config.node_file import NodeFile, admin_socket, announce, boot_id
from henslowe.config.provenance import Loaded
from henslowe.config.sample import ensure_sample, ensure_workspace
from henslowe.config.settings import Settings
from henslowe.errors import HensloweError, ListenFailed
from henslowe.node_declared import declare
from henslowe.node_front import admin_of, gateway_of
from henslowe.node_health_metrics import HealthCollector
from henslowe.node_metrics import NodeCollector
from henslowe.node_planes import node_id, planes_of
from henslowe.node_shared import Shared
from henslowe.node_tables import TABLES
from henslowe.node_view import View
from henslowe.storage import Store, busy, holder
from henslowe.supervisors import CrashReport, add_listener
from henslowe.supervisors.planes import start_tree
from henslowe.transport.application import application_maker
from henslowe.transport.gateway import Gateway
from henslowe.transport.listener import bind_tcp, bind_unix
from henslowe.transport.tokens import ensure_token

log = logging.getLogger(__name__)

AUDIT = "henslowe.actors.versions.audit"
"""Knows what the rows of services and versions must be; loaded by name into the process that checks."""
STALL_S = 1.0
"""A handler that holds up the loop for longer is named in the log."""


class Node:
    """A running node. Made by `Node.start`; ended by `stop`. Runs in: one loop, from start to end."""

    def __init__(
        self,
        loaded: Loaded,
        store: Store,
        shared: Shared,
        address: Address,
        stack: ExitStack,
        *,
        sample_made: bool = False,
    ) -> None:
        self.loaded = loaded
        self.store = store
        self.shared = shared
        self.address = address
        self.sample_made = sample_made
        """Whether the workspace was empty, and has a first service now."""
        self.started_s = time.time()
        self.stopping = asyncio.Event()
        """Set when somebody asked the node to stop."""
        self.draining = False
        self._stack = stack
        self._root: Ref | None = None
        self._gateway: Gateway | None = None
        self._watchdog: Watchdog | None = None

    @property
    def settings(self) -> Settings:
        """What the node was told."""
        return self.loaded.settings

    @property
    def url(self) -> str:
        """Where clients find it."""
        host = self.address.host
        scheme = "http" if self.settings.tls.cert_file is None else "https"
        return f"{scheme}://{Address('127.0.0.1' if host in ('0.0.0.0', '::') else host, self.address.port)}"  # noqa: S104

    @property
    def root(self) -> Ref:
        """The root supervisor."""
        assert self._root is not None, "the tree is started before the node is handed out"
        return self._root

    @property
    def directory(self) -> EndpointDirectory:
        """The endpoints that are up."""
        return self.shared.directory

    @property
    def hook_board(self) -> HookBoard:
        """How hooks went."""
        return self.shared.hooks

    @property
    def module_board(self) -> ModuleBoard:
        """How extensions do."""
        return self.shared.extensions.board

    @property
    def stalls(self) -> int:
        """Times that a handler held up the loop."""
        return self._watchdog.stalls if self._watchdog is not None else 0

    @classmethod
    async def start(cls, loaded: Loaded, *, found_sound: Callable[[Path], bool] | None = None) -> Node:
        """A node with its listeners open.

        Args:
            loaded: Its settings.
            found_sound: Whether a file of its store was verified already (`henslowe.early_check`).

        Raises:
            HensloweError: It cannot start; the message says why, and nothing was changed unless it says so.
        """
        settings = loaded.settings
        with ExitStack() as stack:
            tcp = _listen(settings)
            stack.callback(tcp.close)
            ensure_workspace(settings.workspace)
            shared = Shared.of(settings)
            tables = (*TABLES, *shared.extensions.tables)
            store = Store.open(
                settings.data_dir,
                settings.name,
                settings.storage,
                capture=settings.capture,
                tables=tables,
                found_sound=found_sound,
            )
            stack.callback(store.close)
            address = Address(*tcp.getsockname()[:2])
            made = ensure_sample(settings.workspace)
            node = cls(loaded, store, shared, address, stack.pop_all(), sample_made=made)
        try:
            await node._boot(tcp)
        except BaseException:
            await node.stop()
            raise
        return node

    async def stop(self) -> None:
        """Close listeners, drain, stop every actor in reverse order of start, and close the store. Idempotent."""
        self.draining = True
        if self._gateway is not None:
            await self._gateway.close()
        if self._root is not None:
            if self._root.is_alive():
                try:
                    await _say(EventType.NODE_STOP, Status.SUCCESS, pid=os.getpid())
                except (HensloweError, ActorExit, CallTimeout) as error:
                    log.warning("stop_not_said", extra={"reason": str(error)})  # a full disk is no reason to stay
                self._root.exit(SHUTDOWN)
                await _gone(self._root)
            self._root = None
        self._stack.close()

    async def _boot(self, tcp: socket.socket) -> None:
        settings, store = self.settings, self.store
        self._watchdog = Watchdog(Scheduler.install(), limit_s=STALL_S)
        self._watchdog.start()
        self._stack.callback(self._watchdog.stop)
        self._stack.callback(add_listener(_crash_said))
        self._stack.callback(say_notices(store.notices))
        store.scrubbing.audit = AUDIT
        store.scrubbing.folders = functools.partial(laid_out, settings.workspace / "archive")
        self.shared.metrics.register(NodeCollector(self))
        self.shared.metrics.register(HealthCollector(self.shared.instances, self.shared.traffic))
        swept = await asyncio.to_thread(sweep_orphans, node_id(store), str(store.incarnation))
        sockets = [tcp]
        unix_path = admin_socket(settings.data_dir)
        if unix_path is not None:
            sockets.append(bind_unix(unix_path))
            self._stack.callback(unix_path.unlink, missing_ok=True)
            self._stack.callback(sockets[-1].close)
        token_file = settings.admin.token_file or settings.data_dir / "admin.token"
        token = ensure_token(token_file)
        await self.shared.extensions.intercept(self.shared.interceptors)
        view = View(self)
        self._gateway = gateway = gateway_of(settings, store, self.shared, view)
        self._stack.callback(self.shared.directory.on_server_event(gateway.server_event))
        make_app = application_maker(
            settings,
            self.address,
            token=token,
            board=self.shared.access,
            gateway=gateway,
            admin=admin_of(settings, store, self.shared, view, gateway),
            secrets=store.secrets.resolve,
        )
        self._root = await start_tree(planes_of(settings, store, self.shared, make_app, sockets))
        gateway.start()
        await _say(EventType.NODE_START, Status.SUCCESS, pid=os.getpid(), henslowe=__version__, url=self.url)
        if store.recovered or swept:
            await _say(EventType.NODE_RECOVERED, Status.SUCCESS, clean=not store.recovered, swept_pids=swept)
        await declare(store, settings, self.shared.extensions.services)
        self.shared.extensions.served()
        self._stack.callback(
            announce(
                NodeFile(
                    pid=os.getpid(),
                    boot_id=boot_id(),
                    url=self.url,
                    socket=str(unix_path or ""),
                    token_file=str(token_file),
                    workspace=str(settings.workspace),
                    data=str(settings.data_dir),
                    name=settings.name,
                    version=__version__,
                )
            )
        )


def _listen(settings: Settings) -> socket.socket:
    """The node's bound port; when a node of this workspace has it, the error says that instead."""
    try:
        return bind_tcp(check_listen(settings))
    except ListenFailed as error:
        running = holder(settings.data_dir)
        if running is None:
            raise
        raise busy(settings.data_dir, running) from error


def _crash_said(report: CrashReport) -> None:
    """Every report of a supervisor is an event, too."""
    say(EventType.ACTOR_CRASHED, Status.FAILED, **report.as_dict())


async def _gone(ref: Ref) -> None:
    loop = asyncio.get_running_loop()
    gone = asyncio.Event()
    ref.watch(lambda *_: loop.call_soon_threadsafe(gone.set))
    await gone.wait()


async def _say(event: EventType, status: Status, **data: Any) -> None:
    await registry.via(names.BUS).call(Publish((draft(event, status, stream=Stream.LIFECYCLE, **data),)))
