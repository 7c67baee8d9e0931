"""What calls that were made of both versions have shown: counts, evidence, places that differ, a few examples. Pure.

A difference counts only beyond the noise: where two copies of the same version differ from each other, as times and
random numbers do, the new version may differ, too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from henslowe.actors.pairing.answers import Answer, Difference, paths_apart
from henslowe.actors.pairing.paired import PairedEvidence
from henslowe.actors.routes import Outcome

PATHS_MAX: Final = 200
"""Places that are counted; further ones are not."""
EXAMPLES_MAX: Final = 5
VALUE_CHARS_MAX: Final = 120
PATH_CHARS_MAX: Final = 160


COUNTS: Final = ("calls", "alike", "failed_new", "failed_old", "failed_both", "refused_new", "differing")
"""Of a ledger."""


def _failed(answer: Answer) -> bool:
    return answer.failed


Clean = Callable[[Any], Any]
"""Takes secrets out of a value."""


@dataclass(slots=True, frozen=True)
class Asked:
    """One call that both versions were asked."""

    tool: str
    """The tool's name, or the method with what it is about."""
    new: Answer
    others: Sequence[Answer]
    """Of copies of the other version, asked at the same time."""
    beside: Sequence[Answer] = ()
    """Of copies of the other version, at another time: they tell what differs anyway, and are no evidence."""
    id: int = 0
    """Of the captured call, for whoever wants to see it."""


@dataclass(slots=True)
class PathCount:
    """How often answers differed at one place."""

    new: int = 0
    """Calls on which the new version alone differed."""
    noise: int = 0
    """Calls on which two copies of the other version differed from each other."""


@dataclass(slots=True)
class Ledger:
    """Runs in: the loop."""

    clean: Clean
    blames: Callable[[Answer], bool] = _failed
    """Which answers count as evidence against the version that gave them."""
    calls: int = 0
    alike: int = 0
    failed_new: int = 0
    """Calls that failed on the new version and on no copy of the other."""
    failed_old: int = 0
    """The reverse: on a copy of the other and not on the new one."""
    failed_both: int = 0
    refused_new: int = 0
    """Calls whose arguments only the new version refuses: its contract changed."""
    differing: int = 0
    evidence: PairedEvidence = field(default_factory=PairedEvidence)
    paths: dict[tuple[str, str], PathCount] = field(default_factory=dict)
    examples: list[dict[str, Any]] = field(default_factory=list)

    def add(self, asked: Asked) -> None:
        """One more call."""
        self.calls += 1
        blamed = sum(map(self.blames, asked.others))
        self.evidence.add(asked.tool, new_failed=self.blames(asked.new), others_failed=blamed, others=len(asked.others))
        others_failed = sum(each.failed for each in asked.others)
        if asked.new.failed:
            self.failed_new += not others_failed
            self.failed_both += others_failed > 0
            if not others_failed:
                self._keep(asked, Difference("(outcome)", *_outcomes(asked)))
        elif others_failed:
            self.failed_old += 1
        else:
            self._compare(asked)

    @property
    def different_paths(self) -> dict[tuple[str, str], int]:
        """Places, by tool, where the new version differed and copies of the other never did from each other."""
        return {place: count.new for place, count in self.paths.items() if count.new and not count.noise}

    def dump(self) -> dict[str, Any]:
        """What was seen so far, as plain data for `load`; values in it were cleaned before."""
        return {
            "counts": {name: getattr(self, name) for name in COUNTS},
            "evidence": self.evidence.dump(),
            "paths": [[tool, path, count.new, count.noise] for (tool, path), count in self.paths.items()],
            "examples": self.examples,
        }

    def load(self, dumped: dict[str, Any]) -> None:
        """Goes on from where `dump` was called."""
        for name in COUNTS:
            setattr(self, name, dumped["counts"][name])
        self.evidence = PairedEvidence.load(dumped["evidence"])
        self.paths = {(tool, path): PathCount(new, noise) for tool, path, new, noise in dumped["paths"]}
        self.examples = [dict(example) for example in dumped["examples"]]

    def _compare(self, asked: Asked) -> None:
        first, *more = (*asked.others, *asked.beside)
        noisy = {difference.path for other in more for difference in paths_apart(first, other)}
        for path in noisy:
            count = self._count(asked.tool, path)
            if count is not None:
                count.noise += 1
        apart = [each for each in paths_apart(first, asked.new) if not _covered(each.path, noisy)]
        if not apart:
            self.alike += 1
            return
        if asked.new.outcome is Outcome.INVALID_PARAMS:
            self.refused_new += 1
        else:
            self.differing += 1
        for difference in apart:
            count = self._count(asked.tool, difference.path)
            if count is not None:
                count.new += 1
                if count.new == 1:
                    self._keep(asked, difference)

    def _count(self, tool: str, path: str) -> PathCount | None:
        place = tool, self._shown(path, PATH_CHARS_MAX)  # a field may be named by somebody's address
        found = self.paths.get(place)
        if found is None and len(self.paths) < PATHS_MAX:
            found = self.paths[place] = PathCount()
        return found

    def _keep(self, asked: Asked, difference: Difference) -> None:
        """Examples: one of each tool and place, failures before differences."""
        path = self._shown(difference.path, PATH_CHARS_MAX)
        if any(each["tool"] == asked.tool and each["path"] == path for each in self.examples):
            return
        example = {
            "tool": asked.tool,
            "path": path,
            "old": self._shown(difference.one),
            "new": self._shown(difference.other),
            "capture": asked.id,
        }
        if asked.new.failed:
            self.examples.insert(0, example)
            del self.examples[EXAMPLES_MAX:]
        elif len(self.examples) < EXAMPLES_MAX:
            self.examples.append(example)

    def _shown(self, value: Any, chars_max: int = VALUE_CHARS_MAX) -> str:
        text = str(self.clean(value))
        return text if len(text) <= chars_max else f"{text[: chars_max - 3]}..."


def _outcomes(asked: Asked) -> tuple[str, str]:
    return asked.others[0].outcome.value, f"{asked.new.outcome.value}: {asked.new.body}"


def _covered(path: str, noisy: set[str]) -> bool:
    """Whether a place, or one around it, is noise: what is in a list of random length is random, too."""
    return path in noisy or any(path.startswith((f"{each}.", f"{each}[")) or path == each for each in noisy)
