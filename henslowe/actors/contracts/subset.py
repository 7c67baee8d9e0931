"""Whether every value that one JSON Schema accepts is accepted by another, with the reasons where not.

    gaps(old_input, new_input)      # what callers may have sent, and must not any more
    gaps(new_output, old_output)    # what callers may now get, and never got

No gap is a proof; a gap that is not `proven` says that no proof was found. The method is structural: each keyword of
the outer schema has to follow from the inner one. Small sets of values are decided by trying them, unions by their
parts, recursive schemas by induction over the value. `format` is an annotation, as in the specification.

Source: JSON Schema 2020-12, core and validation.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from enum import StrEnum
from fractions import Fraction
from typing import Any, Final

from henslowe.actors.contracts.schema_set import Document, Schema, SchemaSet, Unresolvable, expand, matches, same

STEPS_MAX: Final = 5_000
"""Comparisons of one pair of schemas; unions within unions multiply."""
DEPTH_MAX: Final = 50
"""Comparisons within comparisons; a reference may lead to itself."""
_SHOWN_CHARS: Final = 60


class Why(StrEnum):
    """What kind of gap."""

    TYPE = "type"
    VALUE = "value"
    BOUND = "bound"
    REQUIRED = "required"
    CLOSED = "closed"
    """A property that was accepted is refused by its name."""
    OPEN = "open"
    """The inner schema says nothing of the property, so it may be anything; the outer one says what it is."""
    UNPROVEN = "unproven"


@dataclass(slots=True, frozen=True)
class Gap:
    """One reason why a value may be accepted by the inner schema alone."""

    path: str
    """Where in the value: `a.b[].c`, "" for the whole."""
    why: Why
    text: str


def gaps(inner: Schema, outer: Schema) -> tuple[Gap, ...]:
    """Why not every value of `inner` is one of `outer`; empty when every one is."""
    if same(inner, outer):
        return ()
    if _has_key(inner, "$id", below=True) or _has_key(outer, "$id", below=True):
        return (Gap("", Why.UNPROVEN, "a part of the schema has an $id of its own"),)
    comparison = _Comparison(Document(inner), Document(outer))
    try:
        return tuple(dict.fromkeys(comparison.compare(SchemaSet.of(comparison.inner, inner), outer, "")))
    except Unresolvable as error:
        return (Gap("", Why.UNPROVEN, f"cannot follow the reference {error}"),)
    except _TooManyStepsError:
        return (Gap("", Why.UNPROVEN, "the schemas are too intricate to compare"),)
    except ValueError as error:  # a pattern or number that the validator does not take
        return (Gap("", Why.UNPROVEN, f"cannot compare: {error}"),)


class _TooManyStepsError(Exception):
    pass


Found = Iterator[Gap]
Rule = Callable[["_Comparison", SchemaSet, dict[str, Any], str], Found]


@dataclass(slots=True)
class _Comparison:
    inner: Document
    outer: Document
    steps: int = 0
    depth: int = 0
    assumed: set[tuple[tuple[int, ...], int]] = field(default_factory=set)
    """Pairs that are being compared further up, at a part of the value that contains this one."""
    kept: list[Any] = field(default_factory=list)
    """Schemas that were made on the way: their identities must not be used again."""

    def compare(self, inner: SchemaSet, outer: Schema, path: str) -> list[Gap]:
        """The gaps between a set and a schema of the outer document."""
        self.steps += 1
        if self.steps > STEPS_MAX or self.depth > DEPTH_MAX:
            raise _TooManyStepsError
        self.depth += 1
        try:
            return self._compare(inner, outer, path)
        finally:
            self.depth -= 1

    def _compare(self, inner: SchemaSet, outer: Schema, path: str) -> list[Gap]:
        if inner.empty or outer is True or outer == {}:
            return []
        if outer is False:
            return [Gap(path, Why.CLOSED, "is not accepted")]
        assert isinstance(outer, dict)
        if any(same(part, outer) for part in inner.parts) and self._refer_alike(outer):
            return []
        values = inner.values
        if values is not None:
            return [
                Gap(path, Why.VALUE, f"{_shown(value)} is not accepted")
                for value in values
                if not self.outer.accepts(outer, value)
            ]
        found = self._whole(inner, outer, path)
        if not found:
            return []
        parts = inner.split()
        if parts is None:
            return found
        self.kept.extend(parts)
        found = []
        for part in parts:
            found += self.compare(part, outer, path)
        return found

    def part(self, inner: SchemaSet, outer: Schema, path: str) -> list[Gap]:
        """The gaps at a part of the value. Recursion ends here: a part is smaller than the whole."""
        pair = (inner.identity, id(outer))
        if pair in self.assumed:
            return []
        self.kept.append(inner)
        self.assumed.add(pair)
        try:
            return self.compare(inner, outer, path)
        finally:
            self.assumed.discard(pair)

    def _whole(self, inner: SchemaSet, outer: dict[str, Any], path: str) -> list[Gap]:
        found: list[Gap] = []
        for rule in _RULES:
            found.extend(rule(self, inner, outer, path))
        return found

    def _refer_alike(self, schema: Schema) -> bool:
        references = list(_references_in(schema))
        named = all(one.startswith(("#/$defs/", "#/definitions/")) for one in references)
        return not references or (named and same(self.inner.definitions, self.outer.definitions))


# -- rules: each yields why its keyword does not follow ----------------


def _type(_: _Comparison, inner: SchemaSet, outer: dict[str, Any], path: str) -> Found:
    if "type" in outer and (missing := inner.types - expand(outer["type"])):
        yield Gap(path, Why.TYPE, f"{_types(missing)} is not accepted, only {_types(expand(outer['type']))}")


def _listed(_: _Comparison, inner: SchemaSet, outer: dict[str, Any], path: str) -> Found:
    for key in ("enum", "const"):
        if key in outer:
            wanted = outer[key] if key == "enum" else [outer[key]]
            yield Gap(path, Why.VALUE, f"only {_shown(wanted)} is accepted, not any {_types(inner.types)}")


_LOWER: Final = {"minLength": "string", "minItems": "array", "minProperties": "object"}
_UPPER: Final = {"maxLength": "string", "maxItems": "array", "maxProperties": "object"}


def _sizes(_: _Comparison, inner: SchemaSet, outer: dict[str, Any], path: str) -> Found:
    for key, of in _LOWER.items():
        if key in outer and of in inner.types:
            least = inner.at_least(key) or Fraction(0)
            if key == "minProperties":
                least = max(least, Fraction(len(inner.required)))
            if least < Fraction(outer[key]):
                yield Gap(path, Why.BOUND, f"{key} is {outer[key]}, not {_number(least)}")
    for key, of in _UPPER.items():
        if key in outer and of in inner.types:
            most = inner.at_most(key)
            if most is None or most > Fraction(outer[key]):
                yield Gap(path, Why.BOUND, f"{key} is {outer[key]}, not {_number(most)}")


def _range(_: _Comparison, inner: SchemaSet, outer: dict[str, Any], path: str) -> Found:
    if not inner.types & {"integer", "fraction"}:
        return
    for key, bound, excluding, sign in (
        ("minimum", "minimum", "exclusiveMinimum", 1),
        ("maximum", "maximum", "exclusiveMaximum", -1),
        ("exclusiveMinimum", "minimum", "exclusiveMinimum", 1),
        ("exclusiveMaximum", "maximum", "exclusiveMaximum", -1),
    ):
        if key not in outer:
            continue
        limit = sign * Fraction(outer[key])
        included = [sign * Fraction(said) for said in inner.having(bound)]
        excluded = [sign * Fraction(said) for said in inner.having(excluding)]
        if any(one > limit or (one == limit and key == bound) for one in included) or any(
            one >= limit for one in excluded
        ):
            continue
        yield Gap(path, Why.BOUND, f"{key} is {outer[key]}")
    if "multipleOf" in outer:
        unit = Fraction(outer["multipleOf"])
        known = [Fraction(said) for said in inner.having("multipleOf")]
        if "fraction" not in inner.types:
            known.append(Fraction(1))
        if not any((one / unit).denominator == 1 for one in known):
            yield Gap(path, Why.BOUND, f"multipleOf is {outer['multipleOf']}")


def _pattern(_: _Comparison, inner: SchemaSet, outer: dict[str, Any], path: str) -> Found:
    if "pattern" not in outer or "string" not in inner.types or outer["pattern"] in inner.having("pattern"):
        return
    known = next(inner.having("pattern"), None)
    if known is None:
        yield Gap(path, Why.VALUE, f"has to match {_shown(outer['pattern'])}")
    else:
        yield Gap(path, Why.UNPROVEN, f"has to match {_shown(outer['pattern'])} instead of {_shown(known)}")


def _properties(comparison: _Comparison, inner: SchemaSet, outer: dict[str, Any], path: str) -> Found:
    if "object" not in inner.types:
        return
    for name in outer.get("required", ()):
        if name not in inner.required:
            yield Gap(_at(path, name), Why.REQUIRED, "is required")
    for name, schema in outer.get("properties", {}).items():
        yield from _property(comparison, inner.member(name), schema, _at(path, name), known=name in inner.names)


def _property(comparison: _Comparison, inner: SchemaSet, outer: Schema, path: str, *, known: bool) -> Found:
    found = comparison.part(inner, outer, path)
    if found and not known and not inner.parts:
        yield Gap(path, Why.OPEN, "was anything, and has a schema now")
    else:
        yield from found


def _other_properties(comparison: _Comparison, inner: SchemaSet, outer: dict[str, Any], path: str) -> Found:
    """`additionalProperties` and `patternProperties`: what they say of named, of matching and of other properties."""
    if "object" not in inner.types:
        return
    own: dict[str, Schema] = outer.get("patternProperties", {})
    for pattern, schema in own.items():
        for name in sorted(inner.names):
            if matches(pattern, name) is not False:
                yield from comparison.part(inner.member(name), schema, _at(path, name))
        if pattern in inner.patterns:
            alike = SchemaSet.of(inner.document, *inner.patterns[pattern])
            yield from comparison.part(alike, schema, _at(path, f"/{pattern}/"))
            continue
        for said in inner.patterns.values():
            yield from comparison.part(SchemaSet.of(inner.document, *said), schema, _at(path, f"/{pattern}/"))
        yield from comparison.part(inner.other_properties, schema, _at(path, f"/{pattern}/"))
    if "additionalProperties" not in outer:
        return
    rest: Schema = outer["additionalProperties"]
    for name in sorted(inner.names - set(outer.get("properties", ()))):
        if not any(matches(pattern, name) for pattern in own):
            yield from comparison.part(inner.member(name), rest, _at(path, name))
    for pattern, said in inner.patterns.items():
        if pattern not in own:
            yield from comparison.part(SchemaSet.of(inner.document, *said), rest, _at(path, f"/{pattern}/"))
    for gap in comparison.part(inner.other_properties, rest, _at(path, "*")):
        yield Gap(gap.path, gap.why, "further properties are not accepted") if rest is False else gap


def _items(comparison: _Comparison, inner: SchemaSet, outer: dict[str, Any], path: str) -> Found:
    if "array" not in inner.types or not {"items", "prefixItems"} & set(outer):
        return
    if isinstance(outer.get("items"), list) or any(isinstance(said, list) for said in inner.having("items")):
        yield Gap(path, Why.UNPROVEN, "items are given as a list, which 2020-12 does not know")
        return
    prefix: list[Schema] = outer.get("prefixItems", [])
    most = inner.at_most("maxItems")
    last = max(len(prefix), inner.prefix)
    for at in range(last + 1):
        if most is not None and at >= most:
            break
        schema = prefix[at] if at < len(prefix) else outer.get("items", True)
        yield from comparison.part(inner.item(at), schema, f"{path}[{at if at < last else ''}]")


_TOGETHER: Final = (
    ("contains", "minContains", "maxContains"),
    ("if", "then", "else"),
    ("not",),
    ("uniqueItems",),
    ("propertyNames",),
    ("dependentRequired",),
    ("dependentSchemas",),
    ("unevaluatedProperties", "unevaluatedItems"),
    ("$dynamicRef",),
    ("$recursiveRef",),
    ("dependencies",),
)
"""Keywords that are not looked into: the same in both schemas, or unproven."""
_NEED_ALL: Final = {"unevaluatedProperties", "$dynamicRef", "$recursiveRef"}
"""What they say depends on everything beside them."""


def _alike(comparison: _Comparison, inner: SchemaSet, outer: dict[str, Any], path: str) -> Found:
    for keys in _TOGETHER:
        said: dict[str, Any] = {key: outer[key] for key in keys if key in outer}
        if not said or said == {"uniqueItems": False}:
            continue
        alike = keys[0] not in _NEED_ALL and any(
            all((key in part) == (key in outer) and same(part.get(key), outer.get(key)) for key in keys)
            for part in inner.parts
        )
        if not (alike and comparison._refer_alike(said)):
            yield Gap(path, Why.UNPROVEN, f"{', '.join(said)} changed")


def _references(comparison: _Comparison, inner: SchemaSet, outer: dict[str, Any], path: str) -> Found:
    for schema in outer.get("allOf", ()):
        yield from comparison.compare(inner, schema, path)
    if "$ref" in outer:
        yield from comparison.compare(inner, comparison.outer.resolve(outer["$ref"]), path)


def _alternatives(comparison: _Comparison, inner: SchemaSet, outer: dict[str, Any], path: str) -> Found:
    for key in ("anyOf", "oneOf"):
        if key not in outer:
            continue
        branches: list[Schema] = outer[key]
        nearest: list[Gap] | None = None
        for at, branch in enumerate(branches):
            found = comparison.compare(inner, branch, path)
            others = branches[:at] + branches[at + 1 :]
            if not found and (key == "anyOf" or all(_disjoint(comparison, inner, other) for other in others)):
                break
            if found and (nearest is None or len(found) < len(nearest)):
                nearest = found
        else:
            if nearest is not None and len(branches) == 1:
                yield from nearest
            elif nearest is not None and all(gap.why is Why.TYPE and gap.path == path for gap in nearest):
                yield Gap(path, Why.TYPE, f"{_types(inner.types)} is not accepted")
            else:
                yield Gap(path, Why.UNPROVEN, f"no alternative of {key} is known to accept all of it")


_RULES: Final[tuple[Rule, ...]] = (
    _type,
    _listed,
    _sizes,
    _range,
    _pattern,
    _properties,
    _other_properties,
    _items,
    _alike,
    _references,
    _alternatives,
)


def _disjoint(comparison: _Comparison, inner: SchemaSet, outer: Schema) -> bool:
    """Whether certainly no value is in both: other types, or a required property with other values."""
    other = SchemaSet.of(comparison.outer, outer)
    if other.empty or not inner.types & other.types:
        return True
    if not inner.types & other.types <= {"object"}:
        return False
    for name in sorted(inner.required & other.names):
        said = inner.member(name)
        if said.values is not None:
            wanted = other.member(name)
            if not any(all(comparison.outer.accepts(part, value) for part in wanted.parts) for value in said.values):
                return True
    return False


# -- words ----------------


def _references_in(schema: Any) -> Iterator[str]:
    if isinstance(schema, dict):
        for key, value in schema.items():
            if key in ("$ref", "$dynamicRef", "$recursiveRef") and isinstance(value, str):
                yield value
            else:
                yield from _references_in(value)
    elif isinstance(schema, list):
        for one in schema:
            yield from _references_in(one)


def _has_key(schema: Any, key: str, *, below: bool = False) -> bool:
    """Whether a key is used anywhere; `below` leaves out the root."""
    if isinstance(schema, dict):
        return (key in schema and not below) or any(_has_key(value, key) for value in schema.values())
    return isinstance(schema, list) and any(_has_key(one, key) for one in schema)


def _at(path: str, name: str) -> str:
    return f"{path}.{name}" if path else name


def _types(types: frozenset[str]) -> str:
    if len(types) == len(expand("number")) + 5:
        return "value"
    names = set(types)
    if names >= {"integer", "fraction"}:
        names = names - {"integer", "fraction"} | {"number"}
    return " or ".join(sorted("number" if name == "fraction" else name for name in names))


def _number(bound: Fraction | None) -> str:
    return "unlimited" if bound is None else str(int(bound) if bound.denominator == 1 else float(bound))


def _shown(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "…"
