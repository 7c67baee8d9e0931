"""Room for descriptors: the operating system's table of them is made large once, before anybody connects.

Linux doubles it when a connection finds it full, and of a process with threads it waits for all cores before it goes
on: 7 to 17 ms in the middle of an `accept`, in which nobody is served.
"""

from __future__ import annotations

import fcntl
import os
import resource
from contextlib import suppress
from typing import Final

ROOM: Final = 16_384
"""Descriptors, at 8 bytes each."""


def make_room(count: int = ROOM) -> None:
    """Have the table hold `count` descriptors from now on, or as many as the process may have."""
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    highest = count - 1 if limit == resource.RLIM_INFINITY else min(count, limit) - 1
    with suppress(OSError):  # it grows when it must, then
        spare = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.close(fcntl.fcntl(spare, fcntl.F_DUPFD_CLOEXEC, highest))
        finally:
            os.close(spare)
