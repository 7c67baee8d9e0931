"""What of a service a principal may use: tools, prompts and resources, by rules that can only take away.

Pure. A rule applies to the principals and services that it names, but not to those who hold its `unless_scopes`. An
applying rule refuses what it denies, and what it does not allow. All rules must let a name pass, so their order means
nothing, no rule undoes another, and without rules everything is allowed. Patterns are those of the shell (`*`, `?`,
`[a-z]`), match the whole name, and `*` also matches `/`.
"""

from __future__ import annotations

import fnmatch
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Final
from urllib.parse import unquote

from henslowe.actors.access import scopes
from henslowe.actors.access.principal import Principal
from henslowe.config.settings import PolicyRule

PERMITS_MAX: Final = 10_000
"""Principals whose permits are remembered."""
_UNQUOTED_MAX: Final = 4
"""Times that a URI is unquoted in search of `..`; one that is quoted more often is refused."""


class Kind(StrEnum):
    """What is asked for by name."""

    TOOL = "tool"
    PROMPT = "prompt"
    RESOURCE = "resource"


@dataclass(slots=True, frozen=True)
class Refusal:
    """Why not: the rule's name ("" for a service that no scope opens), and the scopes that would help."""

    policy: str
    scopes: tuple[str, ...] = ()


class _Patterns:
    """Several patterns as one."""

    __slots__ = ("_match", "everything", "nothing")

    def __init__(self, patterns: Iterable[str]) -> None:
        given = tuple(patterns)
        self.everything = "*" in given
        self.nothing = not given
        self._match = re.compile("|".join(map(fnmatch.translate, given)) or "(?!)").match

    def matches(self, name: str) -> bool:
        return self.everything or self._match(name) is not None


@dataclass(slots=True, frozen=True)
class Rule:
    """One rule, ready to be asked."""

    name: str
    principals: _Patterns
    services: _Patterns
    allow: Mapping[Kind, _Patterns]
    deny: Mapping[Kind, _Patterns]
    unless_scopes: tuple[str, ...] = ()

    @classmethod
    def of(cls, name: str, rule: PolicyRule) -> Rule:
        """The rule of a configuration."""
        return cls(
            name,
            _Patterns(rule.principals),
            _Patterns(rule.services),
            {
                Kind.TOOL: _Patterns(rule.allow_tools),
                Kind.PROMPT: _Patterns(rule.allow_prompts),
                Kind.RESOURCE: _Patterns(rule.allow_resources),
            },
            {
                Kind.TOOL: _Patterns(rule.deny_tools),
                Kind.PROMPT: _Patterns(rule.deny_prompts),
                Kind.RESOURCE: _Patterns(rule.deny_resources),
            },
            rule.unless_scopes,
        )

    def applies_to(self, principal: Principal) -> bool:
        """Whether it takes anything away from this principal."""
        held = bool(self.unless_scopes) and all(map(principal.was_given, self.unless_scopes))
        return not held and self.principals.matches(principal.name or "anonymous")

    def refuses(self, kind: Kind, name: str) -> bool:
        """Whether it stands against a name of a service that it applies to."""
        if self.deny[kind].matches(name) or not self.allow[kind].matches(name):
            return True
        watched = not self.allow[kind].everything or not self.deny[kind].nothing
        return kind is Kind.RESOURCE and watched and climbs(name)


@dataclass(slots=True, frozen=True)
class Permit:
    """What one principal may use."""

    scopes: frozenset[str]
    rules: tuple[Rule, ...]
    steps_up: bool = False
    """Whether the principal can get more scopes by itself: from the issuer of its token."""
    alike: bool = True
    """Whether everybody with all services may use the same, so that what one sees another one may see."""

    @property
    def everything(self) -> bool:
        """Whether nothing is refused, to anybody, so that nobody need ask."""
        return self.alike and scopes.MCP in self.scopes

    def service(self, service: str) -> bool:
        """Whether a scope opens the service."""
        return scopes.covers(self.scopes, scopes.of_service(service))

    def refusal(self, service: str, kind: Kind, name: str) -> Refusal | None:
        """Why a name may not be used, by the first rule in the order of their names; None when it may."""
        if not self.service(service):
            return Refusal("", (scopes.of_service(service),))
        for rule in self.rules:
            if rule.services.matches(service) and rule.refuses(kind, name):
                return Refusal(rule.name, rule.unless_scopes)
        return None

    def allows(self, service: str, kind: Kind, name: str) -> bool:
        """Whether a name may be used."""
        return self.refusal(service, kind, name) is None

    def lists(self, refusal: Refusal | None) -> bool:
        """Whether what is refused so is listed all the same: for what it cannot see, a client asks no scopes."""
        return refusal is None or (self.steps_up and bool(refusal.policy and refusal.scopes))


@dataclass(slots=True)
class Policy:
    """All rules, and the permits that follow from them; remembered per principal."""

    rules: tuple[Rule, ...] = ()
    _permits: dict[tuple[str, frozenset[str], frozenset[str]], Permit] = field(default_factory=dict)

    @classmethod
    def of(cls, rules: Mapping[str, PolicyRule]) -> Policy:
        """The policy of a configuration."""
        return cls(tuple(Rule.of(name, rules[name]) for name in sorted(rules)))

    def permit(self, principal: Principal) -> Permit:
        """What this principal may use."""
        who = (principal.name, principal.scopes, principal.claims)
        permit = self._permits.get(who)
        if permit is None:
            if len(self._permits) >= PERMITS_MAX:
                self._permits.clear()
            applying = tuple(rule for rule in self.rules if rule.applies_to(principal))
            permit = self._permits[who] = Permit(
                principal.scopes, applying, steps_up=principal.audiences is not None, alike=not self.rules
            )
        return permit


def climbs(uri: str) -> bool:
    """Whether a URI has a `..` in its path, however quoted: no pattern can tell where such a one ends."""
    for _ in range(_UNQUOTED_MAX):
        if ".." in re.split(r"[/\\?#]", uri):
            return True
        plain = unquote(uri)
        if plain == uri:
            return False
        uri = plain
    return True
