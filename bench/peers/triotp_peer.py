"""triotp's gen_server: casts in a burst, calls one after another. Run: `python triotp_peer.py SHARE`."""

import json
import sys
import time

import trio
from triotp import gen_server, mailbox


async def init(arg):
    return arg


async def handle_call(message, _caller, state):
    return gen_server.Reply(payload=message), state


async def handle_cast(_message, state):
    return gen_server.NoReply(), state


async def main() -> None:
    share = float(sys.argv[1])
    mailbox._init()
    figures = {}
    async with trio.open_nursery() as nursery:
        nursery.start_soon(gen_server.start, sys.modules["__main__"], None, "echo")
        await trio.testing.wait_all_tasks_blocked()
        count = int(50_000 * share)
        began = time.perf_counter()
        for number in range(count):
            await gen_server.cast("echo", number)
        await gen_server.call("echo", 0)
        figures["tell_per_s"] = count / (time.perf_counter() - began)
        count = int(20_000 * share)
        began = time.perf_counter()
        for number in range(count):
            await gen_server.call("echo", number)
        figures["call_per_s"] = count / (time.perf_counter() - began)
        nursery.cancel_scope.cancel()
    print(json.dumps(figures))


import trio.testing  # noqa: E402

trio.run(main)
