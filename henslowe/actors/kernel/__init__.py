"""The actor kernel: OTP's processes, signals and GenServer callbacks, on pykka.

Three kinds of actor share one address type, one set of callbacks and one set of rules:

- `LoopActor` runs on the event loop (the default: no thread, no task while idle),
- `ThreadActor` has a thread, for code that blocks,
- `ProcessActor` has a child process, for code that must be killable.

The smallest one:

    class Counter(LoopActor):
        def init(self):
            self.count = 0

        def handle_cast(self, message):
            self.count += message

        def handle_call(self, message, sender):
            return self.count

    ref = await Counter.start_link(name="counter")
    ref.cast(2)
    assert await ref.call("read") == 2
    ref.cast("not a number")      # TypeError: the actor crashes, links and monitors learn why

The kernel does not restart anything: that is `henslowe.supervisors`. It does not leave this process either: that is
`henslowe.transport.cluster`. Differences from OTP: `terminate` runs on every exit but a kill; a handler cannot be
preempted, so a signal to a busy actor waits for the handler (or cancels it, where it is suspended).
"""

from ._actor import GenActor
from ._child_spec import (
    BRUTAL_KILL,
    INFINITY,
    Backoff,
    ChildCount,
    ChildInfo,
    ChildSpec,
    CountChildren,
    DeleteChild,
    RestartChild,
    RestartType,
    StartChild,
    TerminateChild,
    WhichChildren,
)
from ._exits import (
    ALREADY_STARTED,
    CALLING_SELF,
    KILL,
    KILLED,
    NOPROC,
    NORMAL,
    SHUTDOWN,
    ActorExit,
    CallTimeout,
    StartFailed,
    is_clean,
)
from ._foreign import ForeignActor
from ._frames import ChildFailure
from ._gauges import KernelStatistics, statistics
from ._groups import DuplicateRegistry
from ._info import ActorInfo, ActorState
from ._launcher import ProcessLimits
from ._loop_actor import LoopActor
from ._messages import IGNORE, NOREPLY, Continue, Down, Exit, MonitorRef, Stop
from ._names import Registry, Via, names
from ._observe import ActorStatistics, TraceEvent
from ._os_process import OsProcess
from ._process_actor import ProcessActor
from ._procfs import memory_of
from ._reaper import sweep_orphans
from ._ref import Ref
from ._reply import Reply, ask_async
from ._scheduler import Scheduler
from ._thread_actor import ThreadActor
from ._timers import Timer
from ._watchdog import Stall, Stalled, Watchdog

__all__ = [
    "ALREADY_STARTED",
    "BRUTAL_KILL",
    "CALLING_SELF",
    "IGNORE",
    "INFINITY",
    "KILL",
    "KILLED",
    "NOPROC",
    "NOREPLY",
    "NORMAL",
    "SHUTDOWN",
    "ActorExit",
    "ActorInfo",
    "ActorState",
    "ActorStatistics",
    "Backoff",
    "CallTimeout",
    "ChildCount",
    "ChildFailure",
    "ChildInfo",
    "ChildSpec",
    "Continue",
    "CountChildren",
    "DeleteChild",
    "Down",
    "DuplicateRegistry",
    "Exit",
    "ForeignActor",
    "GenActor",
    "KernelStatistics",
    "LoopActor",
    "MonitorRef",
    "OsProcess",
    "ProcessActor",
    "ProcessLimits",
    "Ref",
    "Registry",
    "Reply",
    "RestartChild",
    "RestartType",
    "Scheduler",
    "Stall",
    "Stalled",
    "StartChild",
    "StartFailed",
    "Stop",
    "TerminateChild",
    "ThreadActor",
    "Timer",
    "TraceEvent",
    "Via",
    "Watchdog",
    "WhichChildren",
    "ask_async",
    "is_clean",
    "memory_of",
    "names",
    "statistics",
    "sweep_orphans",
]
