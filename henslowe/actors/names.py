"""Well-known names of the node's actors, as registered in the kernel's name registry.

Talk to a neighbour through `names.via(NAME)`, never by holding its ref: a ref dies with its incarnation, a name does
not.
"""

from __future__ import annotations

from typing import Final

NODE: Final = "node"
STORAGE: Final = "storage"
WRITER: Final = "storage.writer"
CONTEXT: Final = "storage.context"
BUS: Final = "bus"
PLANES: Final = "planes"
FRONT: Final = "front"
SESSIONS: Final = "sessions"
SESSION_MANAGER: Final = "sessions.manager"
ACCESS: Final = "sessions.access"
TASKS: Final = "sessions.tasks"
REPLAY: Final = "sessions.replay"
RESULTS: Final = "sessions.results"
SERVICES: Final = "services"
INSTANCES: Final = "services.instances"
HOLDS: Final = "services.holds"
PROBER: Final = "services.prober"
SCALER: Final = "services.scaler"
DELIVERY: Final = "delivery"
WATCHER: Final = "delivery.watcher"
PIPELINE: Final = "delivery.pipeline"
PIPELINE_RUNS: Final = "delivery.pipeline.runs"
VERSIONS: Final = "delivery.versions"
ROUTER: Final = "delivery.router"
TRANSFORMS: Final = "delivery.transforms"
HOOKS: Final = "delivery.hooks"
MODULES: Final = "modules"
REHEARSAL: Final = "delivery.rehearsal"
