"""What changed from one contract to another, for whom it matters, and which semver step it asks for.

    diff = compare(active.contract, new.contract)
    diff.step        # Step.MAJOR
    diff.changes     # (Change(MAJOR, "tool 'add'", "argument c is required"), ...)

Callers must be able to send what they sent (`inputSchema` may widen) and must get what they were promised
(`outputSchema` may narrow). RISKY is between MINOR and MAJOR: what a well-behaved client does not notice, and some
client will: an optional argument on an object that was open, another default, hints that say less, or a change of a
schema for which no proof was found. It asks for no more than a minor version, and is shown.

Pure. Not here: what a node does about it (`henslowe.actors.pipeline`, the `contract` setting of a service).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from henslowe.actors.contracts.schema_set import Schema, same
from henslowe.actors.contracts.subset import Gap, Why, gaps
from henslowe.actors.endpoints import Contract, JsonObject

CHANGES_MAX: Final = 200
"""Changes that are told; the rest is counted."""


class Step(IntEnum):
    """How much a change asks of clients; the greatest counts."""

    NONE = 0
    PATCH = 1
    """Words only. Descriptions steer models, so they are shown."""
    MINOR = 2
    """Something is new; nothing that worked stops working."""
    RISKY = 3
    """A minor step that some client may notice."""
    MAJOR = 4
    """Something that worked does not any more."""

    @property
    def word(self) -> str:
        """For people and JSON."""
        return self.name.lower()


@dataclass(slots=True, frozen=True)
class Change:
    """One difference."""

    step: Step
    subject: str
    """What it is about: `tool 'add'`."""
    text: str

    def __str__(self) -> str:
        return f"{self.subject}: {self.text}"

    def as_dict(self) -> dict[str, str]:
        """For JSON."""
        return {"step": self.step.word, "subject": self.subject, "text": self.text}


@dataclass(slots=True, frozen=True)
class ContractDiff:
    """All differences, the gravest first."""

    changes: tuple[Change, ...] = ()
    more: int = 0
    """Changes beyond those told."""

    @property
    def step(self) -> Step:
        """The greatest of them."""
        return max((change.step for change in self.changes), default=Step.NONE)

    def of(self, step: Step) -> tuple[Change, ...]:
        """The changes of one step."""
        return tuple(change for change in self.changes if change.step is step)

    @property
    def summary(self) -> str:
        """In a line: `major: tool 'add': argument c is required (and 2 more)`."""
        if not self.changes:
            return "unchanged"
        first, more = self.changes[0], len(self.changes) - 1 + self.more
        return f"{self.step.word}: {first}" + (f" (and {more} more)" if more else "")


def compare(old: Contract, new: Contract) -> ContractDiff:
    """Every difference between two contracts of one service."""
    if old.digest and old.digest == new.digest:
        return ContractDiff()
    found = sorted(_all(old, new), key=lambda change: -change.step)
    return ContractDiff(tuple(found[:CHANGES_MAX]), max(0, len(found) - CHANGES_MAX))


Both = Callable[[str, JsonObject, JsonObject], Iterator[Change]]


def _all(old: Contract, new: Contract) -> Iterator[Change]:
    yield from _list("tool", old.tools, new.tools, "name", _tool)
    yield from _list("prompt", old.prompts, new.prompts, "name", _prompt)
    # Which resources there are is data as often as it is an interface.
    yield from _list("resource", old.resources, new.resources, "uri", _resource, gone=Step.RISKY)
    templates = old.resource_templates, new.resource_templates
    yield from _list("resource template", *templates, "uriTemplate", _resource)


def _list(
    kind: str,
    old: tuple[JsonObject, ...],
    new: tuple[JsonObject, ...],
    key: str,
    both: Both,
    *,
    gone: Step = Step.MAJOR,
) -> Iterator[Change]:
    """The changes of one list; `both` tells those of an object that is in the old and in the new one."""
    olds, news = ({str(item.get(key)): item for item in items} for items in (old, new))
    for name in sorted(olds.keys() | news.keys()):
        subject = f"{kind} {name!r}"
        if name not in news:
            yield Change(gone, subject, "removed")
        elif name not in olds:
            yield Change(Step.MINOR, subject, "new")
        elif not same(olds[name], news[name]):
            yield from both(subject, olds[name], news[name])


# -- tools ----------------

_HINTS: Final = {"readOnlyHint": False, "destructiveHint": True, "idempotentHint": False, "openWorldHint": True}
"""The hints' defaults. Losing `readOnly` or `idempotent`, or gaining one of the others, is a risk."""
_GOOD: Final = {"readOnlyHint": True, "destructiveHint": False, "idempotentHint": True, "openWorldHint": False}


def _tool(subject: str, old: JsonObject, new: JsonObject) -> Iterator[Change]:
    yield from _input(subject, old.get("inputSchema", {}), new.get("inputSchema", {}))
    yield from _output(subject, old.get("outputSchema"), new.get("outputSchema"))
    before, after = (tool.get("annotations") or {} for tool in (old, new))
    for hint, default in _HINTS.items():
        was, now = before.get(hint, default), after.get(hint, default)
        if was != now:
            step = Step.MINOR if now == _GOOD[hint] else Step.RISKY
            yield Change(step, subject, f"{hint} is {str(now).lower()}, was {str(was).lower()}")
    yield from _fields(subject, old, new, apart={"inputSchema", "outputSchema", "annotations"})


def _input(subject: str, old: Schema, new: Schema) -> Iterator[Change]:
    if same(old, new):
        return
    lost = gaps(old, new)
    demanded = {gap.path for gap in lost if gap.why is Why.REQUIRED}
    for gap in lost:
        if gap.why is Why.OPEN and gap.path in demanded:
            continue
        step = Step.RISKY if gap.why in (Why.OPEN, Why.UNPROVEN) else Step.MAJOR
        yield Change(step, subject, _words("argument", gap))
    told = bool(lost)
    if not lost and gaps(new, old):
        added = sorted(_names(new) - _names(old))
        text = f"optional argument {', '.join(added)} added" if added else "accepts more arguments than before"
        yield Change(Step.MINOR, subject, text)
        told = True
    for path, change in _notes(old, new):
        yield Change(change[0], subject, f"argument {path}: {change[1]}")
        told = True
    if not told:
        yield Change(Step.PATCH, subject, "inputSchema is written otherwise, and accepts the same")


def _output(subject: str, old: Schema | None, new: Schema | None) -> Iterator[Change]:
    if old is None or new is None:
        if old is not None:
            yield Change(Step.MAJOR, subject, "outputSchema removed: results are structured no more")
        elif new is not None:
            yield Change(Step.MINOR, subject, "outputSchema added")
        return
    if same(old, new):
        return
    lost = gaps(new, old)
    for gap in lost:
        if gap.why is Why.REQUIRED:
            yield Change(Step.MAJOR, subject, f"result {gap.path} is not always there any more")
        else:
            step = Step.RISKY if gap.why is Why.UNPROVEN else Step.MAJOR
            yield Change(step, subject, f"may give {_words('result', gap, new_output=True)}")
    gone = sorted(_names(old) - _names(new) - {gap.path for gap in lost})
    for name in gone:
        yield Change(Step.RISKY, subject, f"result {name} is not told of any more")
    if not lost and not gone:
        yield Change(Step.MINOR, subject, "outputSchema changed; all results fit the old one")


def _words(noun: str, gap: Gap, *, new_output: bool = False) -> str:
    subject = f"{noun} {gap.path}" if gap.path else f"the {noun}s" if not new_output else "a result"
    if new_output:
        return f"{subject} that the old schema refuses: {gap.text}"
    if gap.why is Why.CLOSED and gap.path and not gap.path.endswith("*"):
        return f"{subject} removed"
    return f"{subject}: {gap.text}" if gap.why is not Why.REQUIRED else f"{subject} is required"


_PAPER: Final = {"default": Step.RISKY, "format": Step.RISKY, "x-mcp-header": Step.RISKY, "deprecated": Step.MINOR}
"""What a schema says beside the values that it accepts."""


def _notes(old: Schema, new: Schema, path: str = "") -> Iterator[tuple[str, tuple[Step, str]]]:
    """Changed annotations of properties that are in both, nested objects included."""
    if not isinstance(old, dict) or not isinstance(new, dict):
        return
    for key, step in _PAPER.items():
        if path and not same(old.get(key), new.get(key)):
            yield path, (step, f"{key} is {new.get(key)!r}, was {old.get(key)!r}")
    for key in ("title", "description"):
        if path and old.get(key) != new.get(key):
            yield path, (Step.PATCH, f"{key} changed")
    for name in sorted(_names(old) & _names(new)):
        below = f"{path}.{name}" if path else name
        yield from _notes(old["properties"][name], new["properties"][name], below)


def _names(schema: Schema) -> set[str]:
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return set(properties) if isinstance(properties, dict) else set()


# -- the others ----------------


def _prompt(subject: str, old: JsonObject, new: JsonObject) -> Iterator[Change]:
    olds, news = ({str(one.get("name")): one for one in prompt.get("arguments") or ()} for prompt in (old, new))
    for name in sorted(olds.keys() | news.keys()):
        was, now = (bool(arguments.get(name, {}).get("required")) for arguments in (olds, news))
        if name not in news:
            yield Change(Step.RISKY, subject, f"argument {name} removed")
        elif now and not was:
            yield Change(Step.MAJOR, subject, f"argument {name} is required")
        elif name not in olds:
            yield Change(Step.MINOR, subject, f"optional argument {name} added")
        elif was and not now:
            yield Change(Step.MINOR, subject, f"argument {name} is optional")
        elif olds[name] != news[name]:
            yield Change(Step.PATCH, subject, f"argument {name} is described otherwise")
    yield from _fields(subject, old, new, apart={"arguments"})


def _resource(subject: str, old: JsonObject, new: JsonObject) -> Iterator[Change]:
    yield from _fields(subject, old, new)


def _fields(subject: str, old: JsonObject, new: JsonObject, *, apart: set[str] | None = None) -> Iterator[Change]:
    """Fields that differ, other than those that are looked at apart."""
    for key in sorted((old.keys() | new.keys()) - (apart or set())):
        if not same(old.get(key), new.get(key)):
            yield Change(Step.RISKY if key == "mimeType" else Step.PATCH, subject, f"{key} changed")
