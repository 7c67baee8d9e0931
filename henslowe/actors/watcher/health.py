"""What is wrong at the moment: problems by kind and service, each there until it is healed."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field

from henslowe.actors.watcher.inotify import Trouble
from henslowe.actors.watcher.status import Problem

_HINTS = {
    Trouble.WATCH_LIMIT: "raise the kernel's limit: sysctl fs.inotify.max_user_watches=524288",
    Trouble.WATCH_FAILED: "check that the folder may be read",
    Trouble.OVERFLOW: "",
}


@dataclass(slots=True)
class Health:
    """The problems, and which of them were told."""

    _problems: dict[tuple[str, str], Problem] = field(default_factory=dict)
    _told: frozenset[tuple[str, str]] = frozenset()

    def add(self, problem: Problem) -> None:
        """Note a problem; the first report of a kind and service stays."""
        self._problems.setdefault((problem.kind, problem.service), problem)

    def trouble(self, what: Trouble, service: str, text: str) -> None:
        """Note what the kernel's side reported."""
        self.add(Problem(what.value, service, text, _HINTS[what]))

    def heal(self, kinds: Collection[str] | None = None, service: str | None = None) -> None:
        """Forget the problems of these kinds (None: of all) and of this service (None: of all)."""
        self._problems = {
            key: problem
            for key, problem in self._problems.items()
            if not ((kinds is None or problem.kind in kinds) and (service is None or problem.service == service))
        }

    def problems(self) -> tuple[Problem, ...]:
        """All problems, sorted."""
        return tuple(sorted(self._problems.values()))

    def is_news(self) -> bool:
        """Whether there are other problems than at the last call."""
        now = frozenset(self._problems)
        news, self._told = now != self._told, now
        return news
