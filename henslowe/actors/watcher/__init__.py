"""The watcher: saved files become `SourceChanged` messages.

`actor` is the actor; `debounce`, `ignoring` and `scanning` are its pure parts; `inotify` is the kernel's side.
"""

from henslowe.actors.watcher.actor import Watcher
from henslowe.actors.watcher.status import Mode, Problem, ReadStatus, WatchedService, WatcherBoard, WatcherStatus

__all__ = ["Mode", "Problem", "ReadStatus", "WatchedService", "Watcher", "WatcherBoard", "WatcherStatus"]
