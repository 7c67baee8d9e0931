"""Mailboxes with a limit: opt-in per class."""

import asyncio

import pytest
from kernel_specimens import KINDS, OnLoop, OnThread, eventually, gone

from henslowe.actors.kernel import KILL, SHUTDOWN, ActorExit, CallTimeout, statistics
from henslowe.errors import LimitReached

both_kinds = pytest.mark.parametrize("kind", KINDS)


def bounded(kind, limit, policy="raise"):
    return type(f"Bounded{kind.__name__}", (kind,), {"mailbox_limit": limit, "mailbox_policy": policy})


async def filled(kind, limit, policy="raise"):
    """An actor that does not take messages, with a full mailbox."""
    ref = await bounded(kind, limit, policy).start_link()
    ref.suspend()
    for number in range(limit + (kind is OnThread)):  # a thread holds one in its hand
        ref.tell(number)
        if kind is OnThread and number == 0:
            await eventually(lambda: ref.info().mailbox_depth == 0)
    return ref


@both_kinds
async def test_tell_and_call_raise_at_the_limit(kind):
    ref = await filled(kind, 3)
    with pytest.raises(LimitReached, match="its mailbox holds 3 messages"):
        ref.tell("one more")
    with pytest.raises(LimitReached):
        await ref.call("one more")
    with pytest.raises(LimitReached):
        await ref.ask("one more", block=False)
    ref.exit(KILL)


@both_kinds
async def test_cast_and_send_never_raise_but_count_dead_letters(kind):
    ref = await filled(kind, 3)
    before = statistics().dead_letters
    ref.cast("lost")
    ref.send("lost")
    assert statistics().dead_letters == before + 2
    ref.exit(KILL)


@both_kinds
async def test_with_the_drop_policy_tell_is_lost_silently(kind):
    ref = await filled(kind, 3, "drop")
    before = statistics().dead_letters
    ref.tell("lost")
    assert statistics().dead_letters == before + 1
    ref.exit(KILL)


@both_kinds
async def test_a_full_mailbox_takes_messages_again_after_some_were_handled(kind):
    ref = await filled(kind, 3)
    ref.resume()
    await eventually(lambda: ref.info().mailbox_depth == 0)
    ref.tell("fits")
    assert ("cast", "fits") in await ref.call("log")
    ref.exit(KILL)


@both_kinds
async def test_exits_monitors_and_stops_get_into_a_full_mailbox(kind):
    watched = await OnLoop.start_link()
    ref = await bounded(kind, 2).start_link(True)
    ref.cast(lambda actor: actor.monitor(watched) and None)
    await ref.get_state()
    ref.suspend()
    ref.cast(1)
    ref.cast(2)
    watched.exit(KILL)
    ref.exit(SHUTDOWN, watched)
    ref.resume()
    await eventually(lambda: ref.info().mailbox_depth == 0)
    log = await ref.call("log")
    assert [entry for entry in log if entry[0] in ("Down", "Exit")] == [("Down", "killed"), ("Exit", SHUTDOWN)]
    ref.exit(KILL)


@both_kinds
async def test_a_full_mailbox_does_not_keep_an_actor_from_being_stopped(kind):
    ref = await filled(kind, 1)
    stopped = ref.stop(block=False)
    ref.resume()
    assert await stopped is True


async def test_a_dead_bounded_actor_is_as_dead_as_any():
    ref = await filled(OnLoop, 1)
    ref.exit(KILL)
    await gone(ref)
    with pytest.raises(Exception, match="not found"):
        ref.tell("x")


@both_kinds
async def test_with_the_await_policy_senders_wait_for_their_turn_in_order(kind):
    ref = await filled(kind, 2, "await")
    sending = [asyncio.create_task(ref.tell_when_room(number)) for number in (10, 11, 12)]
    await asyncio.sleep(0)
    answer = ref.call("log")
    assert not any(task.done() for task in sending)
    ref.resume()
    await asyncio.gather(*sending)
    assert [entry[1] for entry in (await answer)[-3:]] == [10, 11, 12]
    await ref.tell_when_room("there is room")
    ref.exit(KILL)


@both_kinds
async def test_a_waiting_sender_gives_up_in_time_and_its_message_is_not_sent(kind):
    ref = await filled(kind, 2, "await")
    with pytest.raises(CallTimeout, match="expected room in the mailbox"):
        await ref.tell_when_room("late", timeout_s=0.01)
    cancelled = asyncio.create_task(ref.tell_when_room("cancelled"))
    await asyncio.sleep(0)
    cancelled.cancel()
    with pytest.raises(CallTimeout):
        await ref.call("late too", timeout_s=0.01)
    ref.resume()
    await eventually(lambda: ref.info().mailbox_depth == 0)
    assert {"late", "cancelled", "late too"}.isdisjoint(entry[1] for entry in (await ref.call("log"))[1:])
    ref.exit(KILL)


@both_kinds
async def test_those_who_wait_hear_of_the_actors_death(kind):
    ref = await filled(kind, 1, "await")
    telling = asyncio.create_task(ref.tell_when_room("x"))
    await asyncio.sleep(0)
    asking, calling = ref.ask("x", block=False), ref.call("x")
    ref.exit(KILL)
    for waiting in (telling, asking, calling):
        with pytest.raises(ActorExit):
            await waiting


@both_kinds
async def test_a_thread_waits_for_room_but_the_loop_never_blocks(kind):
    ref = await filled(kind, 1, "await")
    with pytest.raises(LimitReached) as refused:
        ref.tell("from the loop")
    assert "tell_when_room" in refused.value.hint
    thread = asyncio.create_task(asyncio.to_thread(lambda: [ref.tell("t"), ref.ask("log", timeout=5)]))
    await eventually(lambda: len(ref._line) == 1)
    ref.resume()
    assert ("cast", "t") in (await thread)[1]
    ref.exit(KILL)


async def test_waiting_for_room_is_a_plain_tell_where_there_is_no_limit_or_another_policy():
    ref = await OnLoop.start_link()
    await ref.tell_when_room("x")
    assert ("cast", "x") in await ref.call("log")
    ref.exit(KILL)
    full = await filled(OnLoop, 1)
    with pytest.raises(LimitReached):
        await full.tell_when_room("x")
    full.exit(KILL)
    with pytest.raises(ActorExit):
        await full.tell_when_room("x")
