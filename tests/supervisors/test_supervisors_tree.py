"""The picture of the tree."""

import asyncio

from supervised_specimens import LoopWorker, ThreadWorker

from henslowe.actors.kernel import INFINITY, Backoff, ChildSpec, LoopActor, StartChild, TerminateChild, names
from henslowe.supervisors import DynamicSupervisor, Supervisor, tree_snapshot
from henslowe.testing import run_virtually


def shape(node):
    return (node.id, node.kind, node.state, node.restarts, [shape(child) for child in node.children])


def test_a_snapshot_shows_kinds_states_restarts_and_those_that_do_not_run():
    async def main():
        root = await Supervisor.start_link(
            [
                ChildSpec("loop", LoopWorker, ("loop", []), name="tree-loop"),
                ChildSpec("thread", ThreadWorker, ("thread", [])),
                ChildSpec("stopped", LoopActor),
                ChildSpec("waiting", LoopWorker, ("w", []), name="tree-waiting", backoff=Backoff(first_s=99, max_s=99)),
                ChildSpec("many", DynamicSupervisor, name="tree-many", shutdown_s=INFINITY),
            ],
            name="tree-root",
        )
        await names.via("tree-many").call(StartChild(ChildSpec("x", LoopActor)))
        await root.call(TerminateChild("stopped"))
        names.via("tree-waiting").cast(ValueError("now"))
        names.via("tree-loop").cast(ValueError("now"))
        await asyncio.sleep(1)
        tree = tree_snapshot(root)
        assert shape(tree) == (
            "tree-root",
            "supervisor",
            "running",
            0,
            [
                ("loop", "loop", "running", 1, []),
                ("thread", "thread", "running", 0, []),
                ("stopped", "none", "stopped", 0, []),
                ("waiting", "none", "restarting", 0, []),
                ("many", "supervisor", "running", 0, [("x", "loop", "running", 0, [])]),
            ],
        )
        assert tree.children[0].pid == names.whereis("tree-loop").pid
        assert (tree.children[2].pid, tree.children[2].mailbox_depth) == (None, 0)
        await root.stop(block=False)

    run_virtually(main())


async def test_a_snapshot_does_not_wait_for_a_busy_supervisor():
    held = asyncio.Event()

    class Slow(LoopActor):
        async def init(self):
            await held.wait()

    root = await DynamicSupervisor.start_link()
    starting = root.call(StartChild(ChildSpec("slow", Slow)))
    await asyncio.sleep(0.01)
    tree = tree_snapshot(root)
    assert (tree.state, tree.children[0].id) == ("busy", "slow")
    held.set()
    await starting
    await root.stop(block=False)
