"""Results that may be answered again without asking the server: their table and the actor that owns it.

What may be kept, for whom and for how long is `henslowe.transport.gateway.results`' to decide.
"""

from henslowe.actors.results.keeper import ResultKeeper
from henslowe.actors.results.rows import RESULTS, ResultRow

__all__ = ["RESULTS", "ResultKeeper", "ResultRow"]
