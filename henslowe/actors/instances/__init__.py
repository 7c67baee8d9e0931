"""Running versions: the manager, one actor per running server, and the drivers that bring servers to life.

`manager` says what runs, `instance` is the life of one server, `driver` starts and stops it, `environment` is what its
child inherits, `output` what it prints, and `prober` asks the silent whether they are there. The wire is behind the
`Connector` port of `henslowe.actors.endpoints`.
"""

from __future__ import annotations

from henslowe.actors.instances.driver import Driver, ProcessDriver, Server, StartOrder
from henslowe.actors.instances.instance import Instance, instance_name
from henslowe.actors.instances.manager import InstanceManager, SupervisorSpec
from henslowe.actors.instances.prober import Prober

__all__ = [
    "Driver",
    "Instance",
    "InstanceManager",
    "Prober",
    "ProcessDriver",
    "Server",
    "StartOrder",
    "SupervisorSpec",
    "instance_name",
]
