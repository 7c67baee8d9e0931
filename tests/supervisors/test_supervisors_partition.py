"""One child several times, found by key."""

import os

import pytest

from henslowe.actors.kernel import (
    INFINITY,
    NOPROC,
    SHUTDOWN,
    ActorExit,
    ChildSpec,
    LoopActor,
    StartChild,
    WhichChildren,
)
from henslowe.supervisors import DynamicSupervisor, PartitionSupervisor, partition


class Cell(LoopActor):
    def __init__(self, label="plain"):
        super().__init__()
        self.label = label

    def handle_call(self, message, sender):
        if message == "crash":
            raise RuntimeError("cell")
        return (self.label, self.ref.name, self.ref.pid)


@pytest.fixture
async def cells():
    ref = await PartitionSupervisor.start_link(
        ChildSpec("cell", Cell, ("cell",)),
        partitions=3,
        with_arguments=lambda args, n: (f"{args[0]}-{n}",),
        name="cells",
    )
    yield ref
    await ref.stop(block=False)


async def test_each_partition_has_its_arguments_and_keys_always_meet_the_same_one(cells):
    assert [info.id for info in await cells.call(WhichChildren())] == ["0", "1", "2"]
    assert [(await partition("cells", n).call(None))[0] for n in range(5)] == [f"cell-{n % 3}" for n in range(5)]
    assert await partition("cells", -4).call(None) == await partition("cells", 4).call(None)
    assert await partition("cells", "key").call(None) == await partition("cells", "key").call(None)


@pytest.mark.parametrize(("processors", "partitions"), [(3, 3), (None, 1)])
async def test_there_is_one_for_each_processor_or_one_where_nobody_knows(monkeypatch, processors, partitions):
    monkeypatch.setattr(os, "cpu_count", lambda: processors)
    ref = await PartitionSupervisor.start_link(ChildSpec("cell", Cell), name="cells")
    assert len(await ref.call(WhichChildren())) == partitions
    await ref.stop(block=False)


async def test_an_address_survives_the_crash_of_its_partition(cells, caplog):
    via = partition("cells", 1)
    label, name, pid = await via.call(None)
    with pytest.raises(RuntimeError):
        await via.call("crash")
    await via.up(timeout_s=5)
    again = await via.call(None)
    assert again[:2] == (label, name)
    assert again[2] != pid


async def test_dynamic_supervisors_can_be_partitions():
    spec = ChildSpec("starter", DynamicSupervisor, shutdown_s=INFINITY)
    ref = await PartitionSupervisor.start_link(spec, partitions=2, name="starters")
    started = [await partition("starters", n).call(StartChild(ChildSpec(None, Cell))) for n in range(4)]
    assert all(child.is_alive() for child in started)
    await ref.stop(block=False, reason=SHUTDOWN)
    assert not any(child.is_alive() for child in started)
    with pytest.raises(ActorExit) as refused:
        partition("starters", 1)
    assert refused.value.reason == NOPROC


async def test_it_must_have_a_name_and_a_partition():
    with pytest.raises(ActorExit, match="expected a name"):
        await PartitionSupervisor.start_link(ChildSpec("cell", Cell))
    with pytest.raises(ValueError, match="at least 1 partition"):
        PartitionSupervisor(ChildSpec("cell", Cell), partitions=0)
