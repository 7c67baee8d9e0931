"""Tasks of MCP servers: which version and instance made each, so that a client finds its task again.

`rows` is the table, `keeper` the actor that owns it. What is said about tasks, and to which server, is
`henslowe.transport.gateway.tasks`'.
"""

from henslowe.actors.tasks.keeper import TaskKeeper
from henslowe.actors.tasks.rows import TASKS, TaskRow

__all__ = ["TASKS", "TaskKeeper", "TaskRow"]
