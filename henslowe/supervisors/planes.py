"""The node's supervision tree: which plane restarts with which, and how much each may crash before it gives up.

```
node (rest_for_one)
├─ storage    the writer and what is kept for it; all below reads what it commits
├─ bus        the event bus
└─ planes     (one_for_one)
   ├─ sessions    gateway sessions
   ├─ services    one supervisor per service, instances under it, and the manager that starts them
   ├─ delivery    (rest_for_one) transforms, router, versions, pipeline, watcher
   ├─ modules     one supervisor per extension, and the keeper that starts them
   └─ front       the listeners
```

The order is the order of start, so listeners open last and close first. An escalation in one plane never takes the
listeners or the running instances with it. The budgets are written out here; what runs in a plane is the composition
root's to say (`henslowe.node`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from henslowe.actors import names
from henslowe.actors.kernel import INFINITY, ChildSpec, Ref, RestartType
from henslowe.supervisors.dynamic import DynamicSupervisor
from henslowe.supervisors.policy import Strategy
from henslowe.supervisors.static import Supervisor


@dataclass(slots=True, frozen=True)
class Planes:
    """The children of each plane, in start order."""

    storage: Sequence[ChildSpec]
    bus: Sequence[ChildSpec]
    sessions: Sequence[ChildSpec]
    services: Sequence[ChildSpec]
    delivery: Sequence[ChildSpec]
    front: Sequence[ChildSpec]
    modules: Sequence[ChildSpec] = ()


def static_plane(
    name: str,
    children: Sequence[ChildSpec],
    *,
    strategy: Strategy = Strategy.ONE_FOR_ONE,
    max_restarts: int = 5,
    max_seconds: float = 10.0,
) -> ChildSpec:
    """A plane as a child of the tree: a static supervisor under a well-known name."""
    return ChildSpec(
        id=name,
        actor=Supervisor,
        args=(list(children),),
        kwargs={"strategy": strategy, "max_restarts": max_restarts, "max_seconds": max_seconds},
        name=name,
        shutdown_s=INFINITY,
    )


def dynamic_plane(name: str, id_: str = "", *, max_restarts: int = 10, max_seconds: float = 10.0) -> ChildSpec:
    """A plane whose children come and go."""
    return ChildSpec(
        id=id_ or name,
        actor=DynamicSupervisor,
        kwargs={"max_restarts": max_restarts, "max_seconds": max_seconds},
        name=name,
        shutdown_s=INFINITY,
    )


def contained_supervisor(id_: str, max_restarts: int, max_seconds: float) -> ChildSpec:
    """A dynamic supervisor that comes and goes, and whose giving up is nobody else's crash."""
    return ChildSpec(
        id=id_,
        actor=DynamicSupervisor,
        kwargs={"max_restarts": max_restarts, "max_seconds": max_seconds},
        restart=RestartType.TEMPORARY,
        shutdown_s=INFINITY,
    )


def node_children(planes: Planes) -> list[ChildSpec]:
    """The children of the node's root supervisor."""
    inner = [
        static_plane(names.SESSIONS, planes.sessions),
        static_plane("services.plane", planes.services, strategy=Strategy.REST_FOR_ONE),
        static_plane(
            names.DELIVERY, planes.delivery, strategy=Strategy.REST_FOR_ONE, max_restarts=10, max_seconds=30.0
        ),
        static_plane("modules.plane", planes.modules, strategy=Strategy.REST_FOR_ONE),
        static_plane(names.FRONT, planes.front, max_restarts=10),
    ]
    return [
        static_plane(names.STORAGE, planes.storage, strategy=Strategy.REST_FOR_ONE),
        static_plane("bus.plane", planes.bus),
        static_plane(names.PLANES, inner, max_restarts=3, max_seconds=30.0),
    ]


async def start_tree(planes: Planes) -> Ref:
    """Start everything, in order; the ref of the root supervisor.

    Raises:
        ActorExit: A part did not start; what had started was stopped again, in reverse order.
    """
    root = await Supervisor.start_link(
        node_children(planes), strategy=Strategy.REST_FOR_ONE, max_restarts=2, max_seconds=60.0, name=names.NODE
    )
    assert root is not None, "a supervisor with children does not ignore its start"
    return root
