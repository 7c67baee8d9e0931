"""What a queue item means: which callback it runs, and whom its result answers. The same for every kind of actor."""

from __future__ import annotations

from typing import Any

from pykka._envelope import Envelope
from pykka._introspection import get_attr_directly
from pykka.messages import ProxyCall, ProxyGetAttr

from ._exits import NORMAL
from ._messages import SPECIAL, ActorStop, Down, Exit, Info, Signal, Stop, StopRequest, SystemRequest
from ._ref import Ref


def begin(ref: Ref, actor: Any, item: Any) -> tuple[Any, Any]:
    """Runs the callback for one queue item. Returns its result and the reply to answer, if any.

    The actor is handed over, as another thread may take it from the ref at any moment (a kill).
    """
    kind = type(item)
    if kind not in SPECIAL:
        return actor.handle_cast(item), None
    if kind is Envelope:
        message, reply = item.message, item.reply_to
        if type(message) not in SPECIAL:
            if reply is None:
                return actor.handle_cast(message), None
            return actor.handle_call(message, reply), reply
        return _special(ref, actor, message), reply
    if kind is SystemRequest:
        return item.function(actor), item.reply_to
    return _special(ref, actor, item), None


def _special(ref: Ref, actor: Any, item: Any) -> Any:
    kind = type(item)
    if kind is Exit:
        # gen_server: the parent's exit ends a server, in mailbox order, also one that traps exits. Where there is no
        # parent, whoever signals without saying who it is (the node's main function) stands for it.
        return Stop(item.reason) if item.ref is ref._parent else actor.handle_info(item)
    if kind is Info:
        return actor.handle_info(item.message)
    if kind is Signal or kind is StopRequest:
        return Stop(item.reason)
    if kind is Down:
        monitors = ref._monitors
        if monitors is None or item.mref not in monitors:
            return None  # demonitored while the message was on its way
        monitors.discard(item.mref)
        return actor.handle_info(item)
    if kind is ActorStop:
        return Stop(NORMAL)
    return _proxy(actor, item)


def _proxy(actor: Any, item: Any) -> Any:
    """Pykka's proxy messages: call a method, read or write an attribute."""
    if type(item) is ProxyCall:
        return get_attr_directly(actor, item.attr_path)(*item.args, **item.kwargs)
    if type(item) is ProxyGetAttr:
        return get_attr_directly(actor, item.attr_path)
    parent = get_attr_directly(actor, item.attr_path[:-1])
    setattr(parent, item.attr_path[-1], item.value)
    return None
