"""Contracts of a service's versions, compared: what a new version asks of the clients of the old one.

| module | what it is |
|---|---|
| `schema_set` | a JSON Schema as the set of values that it accepts |
| `subset` | whether one such set is within another, with reasons where it is not |
| `diff` | all differences of two contracts, and the semver step that they ask for |

Pure: no server is started here. `henslowe.actors.pipeline` lists a contract, and compares it with the active one.
"""

from __future__ import annotations

from henslowe.actors.contracts.diff import Change, ContractDiff, Step, compare
from henslowe.actors.contracts.subset import Gap, Why, gaps

__all__ = ["Change", "ContractDiff", "Gap", "Step", "Why", "compare", "gaps"]
