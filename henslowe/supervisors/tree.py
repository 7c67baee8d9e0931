"""A picture of the supervision tree, for `henslowe tree` and the admin API. Disturbs nobody: it asks no actor."""

from __future__ import annotations

from dataclasses import dataclass

from henslowe.actors.kernel import ActorState, ChildInfo, Ref

from ._base import BaseSupervisor


@dataclass(frozen=True, slots=True)
class TreeNode:
    """One actor in the tree.

    Attributes:
        id: The child's id in its supervisor; the root's name.
        kind: `supervisor`, `loop`, `thread` or `process`; `none` for a child that does not run.
        state: An `ActorState`, `restarting`, or `stopped`.
        restarts: Starts after the first one, by the present supervisor.
        pid: The actor's number; None when it does not run.
        os_pid: The child process's number, for process actors.
        children: In start order.
    """

    id: str
    name: str | None
    kind: str
    actor_class: str
    state: str
    restarts: int
    mailbox_depth: int
    pid: int | None
    os_pid: int | None = None
    children: tuple[TreeNode, ...] = ()


def tree_snapshot(root: Ref) -> TreeNode:
    """The tree below `root` now. Runs in: the loop of the supervisors."""
    return _node(root, root.name or str(root), 0)


def _node(ref: Ref, id_: str, restarts: int) -> TreeNode:
    info = ref.info()
    actor = ref._actor
    is_supervisor = isinstance(actor, BaseSupervisor)
    return TreeNode(
        id=id_,
        name=info.name,
        kind="supervisor" if is_supervisor else info.kind,
        actor_class=info.actor_class,
        state=info.state,
        restarts=restarts,
        mailbox_depth=info.mailbox_depth,
        pid=info.pid if info.state is not ActorState.DEAD else None,
        os_pid=info.os_pid,
        children=tuple(_child(child) for child in actor.child_infos()) if is_supervisor else (),
    )


def _child(child: ChildInfo) -> TreeNode:
    if child.ref is not None:
        return _node(child.ref, child.id or str(child.ref), child.restarts)
    return TreeNode(
        id=child.id or child.spec.actor.__name__,
        name=child.spec.name,
        kind="none",
        actor_class=child.spec.actor.__name__,
        state="restarting" if child.restarting else "stopped",
        restarts=child.restarts,
        mailbox_depth=0,
        pid=None,
    )
