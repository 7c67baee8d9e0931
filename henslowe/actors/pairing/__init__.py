"""The same call to two versions at once: what their answers say of the newer one. Pure.

`answers` makes answers comparable, `paired` is the sequential test of failures, `ledger` keeps what a run of such calls
found. Where calls come from and who makes them is `henslowe.actors.rehearsal` (captured calls, before live traffic)
and the gateway's mirror (live calls, beside it).
"""

from henslowe.actors.pairing.answers import Answer, answer_of, lost, paths_apart
from henslowe.actors.pairing.ledger import Asked, Ledger, PathCount
from henslowe.actors.pairing.paired import PairedEvidence, PairedTest

__all__ = [
    "Answer",
    "Asked",
    "Ledger",
    "PairedEvidence",
    "PairedTest",
    "PathCount",
    "answer_of",
    "lost",
    "paths_apart",
]
