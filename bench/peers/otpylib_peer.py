"""otpylib's GenServer: casts in a burst, calls one after another. Run: `python otpylib_peer.py SHARE`."""

# ruff: noqa: D102  # callbacks

import asyncio
import json
import sys
import time

from otpylib import gen_server, process
from otpylib.module import GEN_SERVER, OTPModule
from otpylib.runtime.backends.asyncio_backend.backend import AsyncIOBackend
from otpylib.runtime.registry import set_runtime


class Echo(metaclass=OTPModule, behavior=GEN_SERVER, version="1.0.0"):
    """Takes anything, answers with it."""

    async def init(self, arg):
        return arg

    async def handle_call(self, request, _caller, state):
        return gen_server.Reply(request), state

    async def handle_cast(self, _request, state):
        return gen_server.NoReply(), state

    async def handle_info(self, _message, state):
        return gen_server.NoReply(), state

    async def terminate(self, _reason, _state):
        return None


async def main() -> None:
    share = float(sys.argv[1])
    backend = AsyncIOBackend()
    await backend.initialize()
    set_runtime(backend)
    done: asyncio.Future[dict[str, float]] = asyncio.get_running_loop().create_future()

    async def measure() -> None:
        figures = {}
        await gen_server.start(Echo, None, name="echo")  # a call by pid does not find it
        count = int(100_000 * share)
        began = time.perf_counter()
        for number in range(count):
            await gen_server.cast("echo", number)
        await gen_server.call("echo", None)
        figures["tell_per_s"] = count / (time.perf_counter() - began)
        count = int(20_000 * share)
        began = time.perf_counter()
        for number in range(count):
            await gen_server.call("echo", number)
        figures["call_per_s"] = count / (time.perf_counter() - began)
        done.set_result(figures)

    async def told() -> None:  # otpylib keeps a process's exception to itself
        try:
            await measure()
        except Exception as error:
            done.set_exception(error)

    await process.spawn(told, mailbox=True)
    print(json.dumps(await asyncio.wait_for(done, 120)))


asyncio.run(main())
