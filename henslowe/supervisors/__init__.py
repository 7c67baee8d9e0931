"""Supervisors: who starts actors, in which order, and what happens when they end.

- `policy`: the rules, as pure functions;
- `Supervisor` (`static`): a fixed list of children, three strategies;
- `DynamicSupervisor` (`dynamic`): children that come and go;
- `PartitionSupervisor` (`partition`): one child several times, found by key;
- `reports`: what went wrong and what is done about it, as data;
- `tree_snapshot`: a picture of the tree.

Child specs and the messages to supervisors are data of the kernel, so that actors need not import this package.
"""

from .dynamic import DynamicSupervisor
from .partition import PartitionSupervisor, partition
from .policy import AutoShutdown, Intensity, Strategy
from .reports import Context, CrashReport, NextAction, add_listener, format_report
from .static import Supervisor
from .tree import TreeNode, tree_snapshot

__all__ = [
    "AutoShutdown",
    "Context",
    "CrashReport",
    "DynamicSupervisor",
    "Intensity",
    "NextAction",
    "PartitionSupervisor",
    "Strategy",
    "Supervisor",
    "TreeNode",
    "add_listener",
    "format_report",
    "partition",
    "tree_snapshot",
]
