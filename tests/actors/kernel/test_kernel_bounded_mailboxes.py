"""Mailboxes with a limit: opt-in per class."""

import pytest
from kernel_specimens import KINDS, OnLoop, OnThread, eventually, gone

from henslowe.actors.kernel import KILL, SHUTDOWN, statistics
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
