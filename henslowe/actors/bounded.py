"""Calls foreign code with a deadline, and goes on without it: what plug-ins bring may hang, block or raise anything.

A coroutine function runs on the loop and is cancelled at its deadline; one that ignores that is left behind. A plain
function runs in a thread of its own, which cannot be ended: it is left behind, too, and holds up nothing.
"""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections.abc import Callable
from typing import Any


async def bounded(function: Callable[..., Any], *args: Any, deadline_s: float) -> Any:
    """What `function(*args)` returns.

    Raises:
        TimeoutError: It did not end within `deadline_s`.
        Exception: What it raised; what is no `Exception` (SystemExit) becomes a RuntimeError.
    """
    calling = _begun(function, args)
    try:
        done, _ = await asyncio.wait({calling}, timeout=deadline_s)
    finally:
        if not calling.done():
            calling.cancel()
            calling.add_done_callback(_forgotten)
    if not done:
        raise TimeoutError(f"expected an end within {deadline_s:g} s, got none")
    if calling.cancelled():
        raise RuntimeError("it was cancelled")
    return calling.result()


def _begun(function: Callable[..., Any], args: tuple[Any, ...]) -> asyncio.Future[Any]:
    if inspect.iscoroutinefunction(function):
        return asyncio.ensure_future(_contained(function, args))
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def end(result: Any, error: Exception | None) -> None:
        if future.done():
            return
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)

    def call() -> None:
        result, error = None, None
        try:
            result = function(*args)
        except BaseException as caught:  # noqa: BLE001 - foreign code, which must not end the thread's caller
            error = _plain(caught)
        if not loop.is_closed():
            loop.call_soon_threadsafe(end, result, error)

    # Not of the loop's pool: a thread that never ends would be missing there, and would hold up the node's end.
    threading.Thread(target=call, name=f"bounded {getattr(function, '__qualname__', '')}", daemon=True).start()
    return future


async def _contained(function: Callable[..., Any], args: tuple[Any, ...]) -> Any:
    try:
        return await function(*args)
    except asyncio.CancelledError:
        raise
    except BaseException as caught:
        raise _plain(caught) from caught


def _plain(caught: BaseException) -> Exception:
    return caught if isinstance(caught, Exception) else RuntimeError(repr(caught))


def _forgotten(calling: asyncio.Future[Any]) -> None:
    if not calling.cancelled():
        calling.exception()
