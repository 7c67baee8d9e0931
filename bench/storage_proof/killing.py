"""Kills a child at a random moment after its first acknowledgement, and gives what it acknowledged until then."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import time
import traceback
from collections.abc import Callable, Coroutine
from typing import Any, Final

PIECE_BYTES: Final = 1 << 16
BY_ITSELF: Final = 70
"""Exit status of a child that was not killed: whatever it did, it should have gone on."""


def killed(work: Callable[[int, int], Coroutine[Any, Any, None]], dice: random.Random, after_s_max: float) -> bytes:
    """One life of a child: what it wrote until it was killed, which may end in the middle of a message.

    Args:
        work: Makes the child's work from the descriptor for its acknowledgements and a seed.
        dice: Decides the seed and the moment.
        after_s_max: Longest time from the first acknowledgement to the kill.

    Raises:
        SystemExit: The child ended by itself, or acknowledged nothing.
    """
    reader, writer = os.pipe()
    seed, delay_s = dice.randrange(1 << 30), dice.random() * after_s_max
    pid = os.fork()
    if pid == 0:
        try:
            os.close(reader)
            asyncio.run(work(writer, seed))
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(BY_ITSELF)
    os.close(writer)
    received = os.read(reader, PIECE_BYTES)
    time.sleep(delay_s)
    os.kill(pid, signal.SIGKILL)
    while piece := os.read(reader, PIECE_BYTES):
        received += piece
    os.close(reader)
    _, status = os.waitpid(pid, 0)
    if not received or not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
        raise SystemExit(f"the child ended by itself, status {status}")
    return received
