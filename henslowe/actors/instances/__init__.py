"""Running versions: the manager, one actor per running server, and the drivers that bring servers to life.

`manager` says what runs, `crew` which of a version's instances serve, `scaling` and `planning` how many there should be
and what that takes, `staffing` does it. `instance` is the life of one server, `driver` starts and stops it,
`environment` is what its child inherits, `output` what it prints, `prober` asks the silent whether they are there, and
`scaler` looks at what there is to do.
The wire is behind the `Connector` port of `henslowe.actors.endpoints`.
"""

from __future__ import annotations

from henslowe.actors.instances.crew import Crew, Dormant, Duty, InstanceBoard, Member
from henslowe.actors.instances.driver import Driver, ProcessDriver, Server, StartOrder
from henslowe.actors.instances.instance import Instance, instance_name
from henslowe.actors.instances.manager import InstanceManager
from henslowe.actors.instances.prober import Prober
from henslowe.actors.instances.scaler import Scaler
from henslowe.actors.instances.supervision import SupervisorSpec

__all__ = [
    "Crew",
    "Dormant",
    "Driver",
    "Duty",
    "Instance",
    "InstanceBoard",
    "InstanceManager",
    "Member",
    "Prober",
    "ProcessDriver",
    "Scaler",
    "Server",
    "StartOrder",
    "SupervisorSpec",
    "instance_name",
]
