"""`Watcher`: tells the pipeline when the sources of a service have settled in a new state.

Each folder below `workspace/dev` is a service. The kernel's events say that something may have happened; the quiet
moment after them triggers a scan; only a scan whose content differs from the last one becomes a `SourceChanged`.
So a touch, a save without changes, a lost event or a doubled one never matter.

Where the kernel cannot watch (its limit is reached, an unusual file system, another platform) the service is polled,
visibly. Watching is tried again at each full scan, and as soon as the limit has room.

Not here: what a change leads to (`henslowe.actors.pipeline`).
"""

from __future__ import annotations

import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from henslowe.actors import names
from henslowe.actors.ids import ServiceName
from henslowe.actors.journal import say
from henslowe.actors.kernel import Continue, Reply, ThreadActor
from henslowe.actors.kernel import names as registry
from henslowe.actors.messages import AnnounceSources, SourceChanged, SourceRemoved
from henslowe.actors.sources.ignoring import IgnoreRules
from henslowe.actors.sources.scanning import FILES_MAX, Tree, changed_paths, root_rules, scan, unsettled_s
from henslowe.actors.vocabulary import EventType, Status
from henslowe.actors.watcher import discovery
from henslowe.actors.watcher.debounce import Debouncer
from henslowe.actors.watcher.discovery import Found, list_services
from henslowe.actors.watcher.health import Health
from henslowe.actors.watcher.hints import HintBox
from henslowe.actors.watcher.inotify import Trouble, WatchTree
from henslowe.actors.watcher.status import Mode, Problem, ReadStatus, WatchedService, WatcherBoard, WatcherStatus
from henslowe.config.settings import WatcherSettings
from henslowe.errors import LimitReached

CHANGED_MAX: Final = 50
UNSETTLED_MAX: Final = 10
"""A service whose files never rest is built as it is after this many looks in a row."""
DEV: Final = ""
"""The key of the folder of all services, among the services' names."""

RESCAN_SHARE_MAX: Final = 0.003
"""Most of a processor that full scans may take: where there are 100,000 files, they are made less often."""

ROOM_S: Final = 0.4
"""From one look at whether the limit of watches has room to the next, while there are folders without one. With the
longest scan of one service, which it may have to wait for, and the time to add watches, this is how late they are."""

_WAKE, _TICK, _RESCAN, _NEXT, _POLL, _POLLED, _ROOM = "wake", "tick", "rescan", "next", "poll", "polled", "room"

WATCHING: Final = (Trouble.WATCH_LIMIT.value, Trouble.WATCH_FAILED.value)
"""Kinds of problems that end when a root is watched anew."""


@dataclass(slots=True)
class _Service:
    name: ServiceName
    place: Found
    tree: Tree = field(default_factory=Tree)
    watched_by: IgnoreRules = field(default_factory=IgnoreRules)
    announced: str = ""
    """The digest that the pipeline was told."""
    mode: Mode = Mode.INOTIFY
    unsettled: int = 0


class Watcher(ThreadActor):
    """Watches `workspace/dev`.

    Args:
        workspace: Its folder `dev` is made when it does not exist.
        settings: Debounce, polling and ignore rules.
        board: Where the status is published after each change.
        watches_max: Most watched folders, whatever the kernel allows.
        files_max: Most source files of one service; beyond it the service is reported and not built.
    """

    def __init__(
        self,
        workspace: Path,
        settings: WatcherSettings,
        board: WatcherBoard | None = None,
        *,
        watches_max: int = 100_000,
        files_max: int = FILES_MAX,
    ) -> None:
        super().__init__()
        self._dev = workspace / "dev"
        self._settings = settings
        self._board = board if board is not None else WatcherBoard()
        self._watches_max = watches_max
        self._files_max = files_max
        self._services: dict[str, _Service] = {}
        self._health = Health()
        self._debouncer = Debouncer(settings.debounce_ms / 1000, settings.debounce_max_ms / 1000)
        self._box = HintBox(lambda: self.ref.send(_WAKE))
        self._watches: WatchTree | None = None
        self._dev_identity: tuple[int, int] | None = None
        self._ticking = False
        self._rescans: deque[str] = deque()
        """Services that the full scan has not come to."""
        self._rescan_took_s = 0.0
        self._polls: deque[str] = deque()
        """Services that this round of polling has not come to."""
        self._poll_began_s = 0.0
        self._poll_took_s = 0.0
        self._awaiting_room = False
        self._scans = 0
        self._last_scan_s = 0.0

    # -- life ----------------

    def init(self) -> Any:
        """Open the kernel's door; the first scan follows, so that the supervisor need not wait for it."""
        self._dev.mkdir(parents=True, exist_ok=True)
        self._open()
        self.send_after(self._settings.rescan_s, _RESCAN)
        self.send_after(self._settings.poll_s, _POLL)
        return Continue(None)

    def handle_continue(self, _arg: None) -> None:
        """The first look at everything."""
        self._discover()
        self._go_on()

    def terminate(self, _reason: Any) -> None:
        """Leave no thread and no descriptor behind."""
        if self._watches is not None:
            self._watches.close()
            self._watches = None

    def handle_call(self, message: Any, _sender: Reply) -> WatcherStatus:
        """`ReadStatus`."""
        if isinstance(message, ReadStatus):
            return self._board.current
        raise TypeError(f"expected ReadStatus, got {type(message).__name__}")

    def handle_cast(self, message: Any) -> None:
        """`AnnounceSources`."""
        if not isinstance(message, AnnounceSources):
            raise TypeError(f"expected AnnounceSources, got {type(message).__name__}")
        if message.removed is not None:
            if (gone := self._services.get(message.removed)) is not None:
                self._remove(gone)
                self._discover()
                self._go_on()
            return
        for service in self._services.values():
            if service.announced:
                self._tell_pipeline(service, ())

    def handle_info(self, message: Any) -> None:
        """Hints and timers."""
        if message == _WAKE:
            self._take_hints()
        elif message == _TICK:
            self._ticking = False
        elif message == _POLL:
            self._poll()
            self._poll_next()
        elif message == _POLLED:
            self._poll_next()
        elif message == _ROOM:
            self._awaiting_room = False
            self._use_room()
        elif message == _RESCAN:
            self._rescan()
            self._rescan_next()
        elif message == _NEXT:
            self._rescan_next()
        self._go_on()

    def _go_on(self) -> None:
        """What follows whatever was looked at: the next look at what has not settled, and the status."""
        self._look_where_due()
        self._await_room()
        self._publish()

    # -- hints ----------------

    def _take_hints(self) -> None:
        hints, troubles = self._box.take()
        for key, at_s in hints.items():
            if key == DEV or key in self._services:
                self._debouncer.hint(key, at_s)
        for key, what, where in troubles:
            if what is Trouble.OVERFLOW:
                self._health.trouble(what, key, where)
            elif self._watches is not None and not self._watches.is_watched(key):  # else it was healed meanwhile
                self._health.trouble(what, key, where)
                if key in self._services:
                    self._services[key].mode = Mode.POLLING
        if any(what is Trouble.OVERFLOW for _, what, _ in troubles):
            now_s = time.monotonic()
            for key in (DEV, *self._services):
                self._debouncer.hint(key, now_s)

    def _look_where_due(self) -> None:
        now_s = time.monotonic()
        due = self._debouncer.take_due(now_s)
        if DEV in due:
            self._discover()
        for key in due:
            if key in self._services:
                self._look(self._services[key])
        next_at = self._debouncer.next_at()
        if next_at is None:
            if self._watches is None or not self._watches.is_recovering:
                self._health.heal((Trouble.OVERFLOW,))  # everything was looked at since
        elif not self._ticking:
            self._ticking = True
            self.send_after(max(0.0, next_at - time.monotonic()), _TICK)

    def _poll(self) -> None:
        """Begin a round over what the kernel does not tell of."""
        self._poll_began_s, began_s = time.monotonic(), time.thread_time()
        if self._dev_is_polled():
            self._discover()
        self._polls = deque(name for name, service in self._services.items() if self._is_polled(service))
        self._poll_took_s = time.thread_time() - began_s

    def _poll_next(self) -> None:
        """Look at one service; whatever came meanwhile goes before the next one."""
        began_s = time.thread_time()
        while self._polls:
            service = self._services.get(self._polls.popleft())
            if service is not None and self._is_polled(service):
                self._look(service)
                break
        self._poll_took_s += time.thread_time() - began_s
        if self._polls:
            self.ref.send(_POLLED)
            return
        # From start to start, and at most half of a processor.
        left_s = self._poll_began_s + self._settings.poll_s - time.monotonic()
        self.send_after(max(left_s, self._poll_took_s), _POLL)

    def _is_polled(self, service: _Service) -> bool:
        return service.tree.linked or (service.mode is Mode.POLLING and self._may_poll())

    def _await_room(self) -> None:
        """Have another look at the limit of watches soon, for as long as it keeps folders from being watched."""
        if not self._awaiting_room and self._watches is not None and self._watches.lacks_room:
            self._awaiting_room = True
            self.send_after(ROOM_S, _ROOM)

    def _use_room(self) -> None:
        """Watch what there is room for again; it is told before what was missed is looked at."""
        again = [] if self._watches is None else list(filter(self._watches.has_room_again, self._services))
        for name in again:
            service = self._services[name]
            self._health.heal(WATCHING, name)
            assert self._watches is not None
            if self._watches.watch_the_rest(name):
                service.mode = Mode.INOTIFY if self._watches.is_watched(name) else Mode.POLLING
            else:
                self._watch(service)
            self._debouncer.hint(name, time.monotonic())

    def _rescan(self) -> None:
        """Begin to look at everything, and try to watch again what could not be watched."""
        self._rescan_took_s = 0.0
        if self._watches is not None and not self._watches.is_alive():
            self._watches.close()
            self._watches = None
            self._dev_identity = None
            for service in self._services.values():
                service.mode = Mode.POLLING
        if self._watches is None:
            self._open()
        self._discover()
        for service in tuple(self._services.values()):
            stale = self._watches is not None and self._watches.is_stale(service.name)
            if service.mode is Mode.POLLING or stale:
                self._watch(service)
        self._rescans = deque(self._services)

    def _rescan_next(self) -> None:
        """Look at one service; hints that came meanwhile go before the next one."""
        began_s = time.thread_time()
        if self._rescans and (service := self._services.get(self._rescans.popleft())) is not None:
            self._look(service)
        self._rescan_took_s += time.thread_time() - began_s
        if self._rescans:
            self.ref.send(_NEXT)
        else:
            self.send_after(max(self._settings.rescan_s, self._rescan_took_s / RESCAN_SHARE_MAX), _RESCAN)

    # -- services ----------------

    def _discover(self) -> None:
        """Compare the folders below `dev` with the known services."""
        self._watch_dev()
        try:
            found, problems = list_services(self._dev)
        except OSError as error:
            text = f"cannot list {self._dev}: {error.strerror}"
            self._health.add(Problem("dev", DEV, text, "make the folder again"))
            if self._watches is not None:
                self._watches.unwatch(DEV)  # it is polled until it is there again
            return
        self._health.heal(("dev", *discovery.KINDS))
        for problem in problems:
            self._health.add(problem)
        for name in [name for name in self._services if name not in found]:
            self._remove(self._services[name])
        for name, place in found.items():
            known = self._services.get(name)
            if known is None:
                known = self._services[name] = _Service(name, place)
            elif known.place == place:
                continue
            else:
                known.place, known.tree = place, Tree()
            self._watch(known)
            self._look(known)

    def _remove(self, service: _Service) -> None:
        del self._services[service.name]
        self._debouncer.forget(service.name)
        self._health.heal(service=service.name)
        if self._watches is not None:
            self._watches.unwatch(service.name)
        if service.announced:
            say(EventType.SERVICE_REMOVED, Status.INFO, service=service.name, path=str(service.place.path))
            registry.via(names.PIPELINE).cast(SourceRemoved(service.name))

    def _look(self, service: _Service) -> None:
        """Scan one service, and tell when its content has settled in a new state."""
        now_ns = time.time_ns()
        try:
            tree = scan(
                service.place.root, service.tree, now_ns, ignore=self._settings.ignore, files_max=self._files_max
            )
        except LimitReached as error:
            self._health.add(Problem("too_large", service.name, str(error), error.hint))
            return
        except OSError:
            self._debouncer.hint(DEV, time.monotonic())  # the root is gone: the listing tells what became of it
            return
        finally:
            self._scans += 1
            self._last_scan_s = now_ns / 1e9
        self._health.heal(("too_large",), service.name)
        wait_s = unsettled_s(service.tree, tree, now_ns, self._settings.debounce_max_ms / 1000)
        if wait_s and service.unsettled < UNSETTLED_MAX:
            service.unsettled += 1
            self._debouncer.defer(service.name, time.monotonic(), wait_s)
            return
        service.unsettled = 0
        before, service.tree = service.tree, tree
        if tree.rules.texts != service.watched_by.texts:
            self._watch(service)  # other folders count now; what changed before their watches stood shows at once
            self._debouncer.hint(service.name, time.monotonic())
        if tree.files and tree.digest != service.announced:
            self._announce(service, before)

    def _announce(self, service: _Service, before: Tree) -> None:
        new = not service.announced
        changed = () if new else changed_paths(before, service.tree)[:CHANGED_MAX]
        service.announced = service.tree.digest
        say(
            EventType.SERVICE_FOUND if new else EventType.SOURCE_CHANGED,
            Status.INFO,
            service=service.name,
            digest=service.tree.digest,
            path=str(service.place.path),
            files=len(service.tree.files),
            changed=list(changed),
        )
        self._tell_pipeline(service, changed)

    def _tell_pipeline(self, service: _Service, changed: tuple[str, ...]) -> None:
        registry.via(names.PIPELINE).cast(SourceChanged(service.name, service.place.path, service.announced, changed))

    # -- watches ----------------

    def _open(self) -> None:
        if self._settings.polling == "always":
            return
        if sys.platform != "linux":
            self._health.add(Problem("platform", DEV, f"expected Linux for watching, got {sys.platform}"))
            return
        try:
            watches = self._watches = WatchTree(self._box.hint, self._box.trouble, watches_max=self._watches_max)
            # Also after a kill, when `terminate` does not run: a thread and an inotify instance are scarce.
            self.ref.watch(lambda *_: watches.give_up())
        except OSError as error:
            hint = "raise the kernel's limit: sysctl fs.inotify.max_user_instances=512"
            text = f"cannot open inotify: {error.strerror or error}"
            self._health.add(Problem(Trouble.WATCH_LIMIT.value, DEV, text, hint))

    def _watch_dev(self) -> None:
        try:
            root = self._dev.resolve()
            status = root.stat()
        except OSError:
            return
        identity = (status.st_dev, status.st_ino)
        if self._watches is not None and (identity != self._dev_identity or not self._watches.is_watched(DEV)):
            self._dev_identity = identity
            self._health.heal(WATCHING, DEV)
            self._watches.watch(DEV, root, None)

    def _watch(self, service: _Service) -> None:
        """Watch a service from its root down, or have it polled."""
        if self._watches is None:
            service.mode = Mode.POLLING
            service.watched_by = service.tree.rules
            return
        # before the first scan only the rules at the root are known; if that finds others, it is watched once more
        rules = service.tree.rules if service.tree.digest else root_rules(service.place.root, self._settings.ignore)
        service.watched_by = rules
        self._health.heal(WATCHING, service.name)
        self._watches.watch(service.name, service.place.root, rules)
        service.mode = Mode.INOTIFY if self._watches.is_watched(service.name) else Mode.POLLING

    def _may_poll(self) -> bool:
        return self._settings.polling != "never"

    def _dev_is_polled(self) -> bool:
        return self._may_poll() and (self._watches is None or not self._watches.is_watched(DEV))

    # -- health ----------------

    def _publish(self) -> None:
        services = tuple(
            WatchedService(s.name, s.place.path, len(s.tree.files), s.tree.digest, s.mode)
            for s in sorted(self._services.values(), key=lambda s: s.name)
        )
        polled = self._watches is None or any(s.mode is Mode.POLLING for s in services)
        self._board.current = WatcherStatus(
            mode=Mode.POLLING if polled else Mode.INOTIFY,
            folders=0 if self._watches is None else self._watches.folders,
            services=services,
            problems=self._health.problems(),
            scans=self._scans,
            last_scan_s=self._last_scan_s,
        )
        if self._health.is_news():
            status = self._board.current
            say(
                EventType.WATCHER_HEALTH,
                Status.HEALTHY if status.healthy else Status.DEGRADED,
                mode=status.mode.value,
                problems=[
                    {"kind": p.kind, "service": p.service, "text": p.text, "hint": p.hint} for p in status.problems
                ],
            )
