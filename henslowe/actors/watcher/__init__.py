"""The watcher: saved files become `SourceChanged` messages.

`actor` is the actor; `debounce` decides when to look, `inotify` is the kernel's side; what counts as a source is
`henslowe.actors.sources`.
"""

from henslowe.actors.watcher.actor import Watcher
from henslowe.actors.watcher.status import Mode, Problem, ReadStatus, WatchedService, WatcherBoard, WatcherStatus

__all__ = ["Mode", "Problem", "ReadStatus", "WatchedService", "Watcher", "WatcherBoard", "WatcherStatus"]
