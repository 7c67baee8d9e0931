"""Statistics and trace of one actor."""

import logging

import pytest
from kernel_specimens import KINDS, Boom, OnLoop, gone

from henslowe.actors.kernel import KILL, LoopActor, TraceEvent
from henslowe.testing import Probe, assert_receive

both_kinds = pytest.mark.parametrize("kind", KINDS)


@both_kinds
async def test_statistics_count_messages_by_callback_from_when_they_are_switched_on(kind):
    ref = await kind.start_link()
    ref.cast(None)
    assert await ref.statistics() is None
    await ref.count()
    for _ in range(3):
        ref.cast(None)
    ref.send("info")
    await ref.call(None)
    figures = await ref.statistics()
    assert (figures.casts, figures.infos, figures.calls, figures.errors) == (3, 1, 1, 0)
    assert 0 < figures.longest_s <= figures.busy_s <= figures.since_s
    await ref.count(on=False)
    assert await ref.statistics() is None
    ref.exit(KILL)


@both_kinds
async def test_a_trace_tells_of_each_callback_in_order_until_it_is_ended(kind):
    probe = await Probe.open()
    ref = await kind.start_link()
    await ref.trace(probe.ref.cast)
    ref.cast(None)
    assert await ref.call("log") == ["init", ("cast", None)]
    event = await assert_receive(probe, TraceEvent)
    assert (event.actor, event.callback, event.message, event.result) == (str(ref), "handle_cast", None, None)
    event = await assert_receive(probe, TraceEvent)
    assert (event.callback, event.message, event.result[0]) == ("handle_call", "log", "init")
    await ref.trace(None)
    await ref.call("log")
    await probe.ref.get_state()
    assert probe.received == []
    for one in (ref, probe.ref):
        one.exit(KILL)


@both_kinds
async def test_a_trace_tells_of_the_crash_and_of_terminate(kind):
    probe = await Probe.open()
    ref = await kind.start_link()
    await ref.trace(probe.ref.cast)
    error = Boom("traced")
    ref.cast(error)
    assert await gone(ref) is error
    assert (await assert_receive(probe, lambda event: event.callback == "handle_cast")).error is error
    assert (await assert_receive(probe, lambda event: event.callback == "terminate")).message is error
    probe.ref.exit(KILL)


class Asynchronous(LoopActor):
    async def handle_call(self, message, sender):
        if message == "fail":
            raise Boom
        return message * 2


async def test_async_callbacks_are_measured_to_their_end(caplog):
    ref = await Asynchronous.start_link()
    await ref.count()
    with caplog.at_level(logging.INFO, "henslowe.kernel.trace"):
        await ref.trace()
        assert await ref.call(2) == 4
    assert "handle_call" in caplog.text
    assert "result=4" in caplog.text
    assert (await ref.statistics()).calls == 1
    with pytest.raises(Boom):
        await ref.call("fail")
    assert not ref.is_alive()


async def test_an_observed_actors_state_is_its_own_and_nothing_is_left_when_nobody_looks():
    ref = await OnLoop.start_link()
    plain = set(await ref.get_state())
    await ref.trace(lambda _: None)
    await ref.count()
    assert set(await ref.get_state()) == plain
    await ref.trace(None)
    await ref.count(on=False)
    assert set(vars(ref._actor)) - plain == {"_actor_ref"}
    ref.exit(KILL)


async def test_a_sink_that_raises_is_dropped_and_the_actor_lives(caplog):
    ref = await OnLoop.start_link()
    await ref.trace(lambda _: 1 / 0)
    ref.cast(None)
    ref.cast(None)
    assert len(await ref.call("log")) == 3
    assert caplog.text.count("trace_sink_failed") == 1
    ref.exit(KILL)


async def test_messages_behind_the_request_in_the_same_turn_are_seen():
    ref = await OnLoop.start_link()
    counting = ref.count()
    ref.cast(None)
    ref.cast(None)
    await counting
    assert (await ref.statistics()).casts == 2
    ref.exit(KILL)
