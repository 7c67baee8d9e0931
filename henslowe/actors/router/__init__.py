"""The canary router: what is routed where, and whether a version earns its traffic.

`derive` makes routes and trials from rows, `verdict` judges a `trial` (with `randomised`, `sequential`, `latency`),
`counters` count the traffic; `keeping` has it outlive the node (`rows`, `pieces`), at the pace of `pacing`. `actor` is
the shell around them.
"""

from henslowe.actors.router.actor import CanaryRouter
from henslowe.actors.router.derive import route_of, routes_of, trial_of
from henslowe.actors.router.rows import EVIDENCE, EvidenceRow
from henslowe.actors.router.trial import Past, Rules, Trial
from henslowe.actors.router.verdict import Evidence, Finding

__all__ = [
    "EVIDENCE",
    "CanaryRouter",
    "Evidence",
    "EvidenceRow",
    "Finding",
    "Past",
    "Rules",
    "Trial",
    "route_of",
    "routes_of",
    "trial_of",
]
