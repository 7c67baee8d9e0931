"""Runs checks that may take their process with them: in a child that is replaced when it dies."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator
from typing import Any

CRASHED = "crashed"


def survive(task: Callable[[int, int], Iterator[Any]], count: int) -> Iterator[Any]:
    """What `task(first, count)` yields for first..count-1, each in order, in a forked child.

    When the child dies at one of them, that one is "crashed" and another child goes on behind it.
    """
    first = 0
    while first < count:
        reader, writer = os.pipe()
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                os.close(reader)
                # A store that was damaged on purpose has much to say.
                logging.disable()
                with os.fdopen(writer, "w") as out:
                    for found in task(first, count):
                        print(json.dumps(found), file=out, flush=True)
                code = 0
            finally:
                os._exit(code)
        os.close(writer)
        with os.fdopen(reader) as told:
            for line in told:
                yield json.loads(line)
                first += 1
        _, status = os.waitpid(pid, 0)
        if first < count:
            if not os.WIFSIGNALED(status):
                raise RuntimeError(f"expected {count} checks, the child ended with status {status} at {first}")
            yield CRASHED
            first += 1
