"""The child's side of a process actor: one callback per frame, until the pipe ends. See `_process_actor`."""

from __future__ import annotations

import importlib
import os
import signal
import sys
from types import CoroutineType
from typing import Any, cast

from ._frames import Wire, decode, encode, encode_error, read_frame
from ._messages import IGNORE, NOREPLY, Continue, Stop


def main() -> None:
    """Serves the pipe on standard input and output. What the actor prints goes to standard error."""
    wire = cast("Wire", sys.argv[2])
    commands = os.fdopen(os.dup(0), "rb")
    answers = os.fdopen(os.dup(1), "wb", buffering=0)
    null = os.open(os.devnull, os.O_RDONLY)
    os.dup2(null, 0)
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    actor: Any = None
    while (raw := read_frame(commands)) is not None:
        kind, payload = decode(raw, "pickle")
        try:
            if kind == "new":
                actor, outcome = _create(*payload), ("ok", None)
            else:
                outcome = _run(actor, kind, payload)
            frame = encode(outcome, wire)
        except BaseException as error:  # noqa: BLE001  # the parent decides what a failure means
            frame = encode(("error", encode_error(error, wire)), wire)
        answers.write(frame)


def _create(module: str, qualified_name: str, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    target: Any = importlib.import_module(module)
    for part in qualified_name.split("."):
        target = getattr(target, part)
    return target(*args, **kwargs)


def _run(actor: Any, kind: str, payload: Any) -> tuple[str, Any]:
    if kind == "init":
        result = actor.init()
    elif kind == "handle_call":
        result = actor.handle_call(payload, None)
    else:
        result = getattr(actor, kind)(payload)
    if type(result) is CoroutineType:
        result.close()
        raise TypeError(f"expected plain callbacks in {type(actor).__name__}, got an async one")
    if result is NOREPLY:
        raise TypeError("expected a reply, got NOREPLY: a process actor answers at once")
    if result is IGNORE:
        return "ignore", None
    if type(result) is Stop:
        return "stop", (result.reason, result.reply)
    if type(result) is Continue:
        return "continue", (result.arg, result.reply)
    return "ok", result
