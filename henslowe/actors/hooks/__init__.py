"""Hooks: commands, webhooks and interceptors that are asked before, and told after, a version takes a step.

`henslowe.config.hooks` has the moments and what a person writes; `plan` says who is due (pure), `gates` how questions
stand, `running` runs one hook once, `keeper` is the actor that sees to it over crashes; `signing` has the signature.
What stops while a question is open is `henslowe.actors.versions.gates`' business.
"""

from henslowe.actors.hooks.gates import HookGates
from henslowe.actors.hooks.keeper import HookBoard, HookKeeper
from henslowe.actors.hooks.plan import Configured, complaints
from henslowe.actors.hooks.rows import HOOKS, HookRow, HookState, Origin
from henslowe.actors.hooks.running import Answer, Outcome, Poster, Surroundings

__all__ = [
    "HOOKS",
    "Answer",
    "Configured",
    "HookBoard",
    "HookGates",
    "HookKeeper",
    "HookRow",
    "HookState",
    "Origin",
    "Outcome",
    "Poster",
    "Surroundings",
    "complaints",
]
