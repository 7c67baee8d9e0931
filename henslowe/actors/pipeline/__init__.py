"""The pipeline: a change of sources becomes a checked, archived build, or a reason why not.

Start at `executor` (one run per service), then `run` (the order of things; `trial` without a version) and `graph` (what
runs beside what). Pure parts: `plan` (which stages), `contract_check`, `launching`, `packages`. The rest does one
thing each: `workdir` copies, `environment` installs, `resolving` makes exact what is fetched, `commands` and
`mcp_check` run, `stage_cache` remembers, `release` archives.
"""

from henslowe.actors.pipeline.executor import PipelineExecutor
from henslowe.actors.pipeline.plan import service_folders
from henslowe.actors.pipeline.release import laid_out, restore, sweep_unknown
from henslowe.actors.pipeline.telling import Listener
from henslowe.actors.pipeline.tools import Tools
from henslowe.actors.pipeline.trial import Trial, TrialRun, followed

__all__ = [
    "Listener",
    "PipelineExecutor",
    "Tools",
    "Trial",
    "TrialRun",
    "followed",
    "laid_out",
    "restore",
    "service_folders",
    "sweep_unknown",
]
