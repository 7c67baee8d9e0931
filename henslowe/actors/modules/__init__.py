"""Runs the extensions that were found (`henslowe.extensions`), each contained in a subtree of its own.

`board` shows how they do, `host` is the actor behind one, `keeper` starts the subtrees.
"""

from henslowe.actors.modules.board import ModuleBoard, ModuleInfo, ModuleState
from henslowe.actors.modules.host import ModuleHost, SinkHost
from henslowe.actors.modules.keeper import ModuleKeeper, ModulePlan

__all__ = ["ModuleBoard", "ModuleHost", "ModuleInfo", "ModuleKeeper", "ModulePlan", "ModuleState", "SinkHost"]
