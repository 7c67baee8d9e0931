"""A JSON Schema as the set of values that it accepts: what is known of that set, conservatively.

A `SchemaSet` is a conjunction of schemas (a schema, its `allOf` parts, and what its `$ref`s name). Its questions have
sound answers: `types` never misses a type that a value may have, `values` is complete or None, `member` and `item`
accept whatever that part of an accepted value may be. Ignoring a keyword only makes the set look larger.

Not here: comparing two sets (`subset`).
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from typing import Any, Final

import jsonschema_rs

Schema = dict[str, Any] | bool

TYPES: Final = frozenset({"null", "boolean", "object", "array", "string", "integer", "fraction"})
"""JSON Schema's types, with `number` split into the integers and the rest."""
_REF_STEPS_MAX: Final = 100
_VALUES_MAX: Final = 1_000


class Unresolvable(Exception):
    """A reference that leads nowhere, out of the document, or in a circle."""


@dataclass(slots=True, frozen=True, eq=False)
class Document:
    """A whole schema, in which references are looked up."""

    root: Schema

    @property
    def definitions(self) -> dict[str, Any]:
        """The named parts that references lead to."""
        if isinstance(self.root, bool):
            return {}
        return {key: self.root[key] for key in ("$defs", "definitions") if key in self.root}

    def resolve(self, reference: str) -> Schema:
        """The part that a local reference names.

        Raises:
            Unresolvable: It is not local, or there is no such part.
        """
        if not reference.startswith("#") or (reference != "#" and not reference.startswith("#/")):
            raise Unresolvable(reference)
        found: Any = self.root
        for part in (part.replace("~1", "/").replace("~0", "~") for part in reference.split("/")[1:]):
            if isinstance(found, list) and part.isdigit() and int(part) < len(found):
                found = found[int(part)]
            elif isinstance(found, dict) and part in found:
                found = found[part]
            else:
                raise Unresolvable(reference)
        if not isinstance(found, dict | bool):
            raise Unresolvable(reference)
        return found

    def accepts(self, schema: Schema, value: Any) -> bool:
        """Whether a part of this document accepts a value; formats are annotations.

        Raises:
            Unresolvable: A reference of it cannot be followed.
        """
        whole = {**self.definitions, **schema} if isinstance(schema, dict) else schema
        try:
            return jsonschema_rs.Draft202012Validator(whole, offline=True).is_valid(value)
        except (jsonschema_rs.ReferencingError, jsonschema_rs.ValidationError, ValueError) as error:
            raise Unresolvable(str(error).partition("\n")[0]) from error


@dataclass(slots=True, frozen=True, eq=False)
class SchemaSet:
    """The values that all of `parts` accept; `never` if there are none for sure."""

    document: Document
    parts: tuple[dict[str, Any], ...] = ()
    never: bool = False
    _memo: dict[str, Any] = field(default_factory=dict)

    @classmethod
    def of(cls, document: Document, *schemas: Schema) -> SchemaSet:
        """The values that all these schemas of a document accept.

        Raises:
            Unresolvable: A reference cannot be followed.
        """
        parts: list[dict[str, Any]] = []
        never = False
        waiting = list(schemas)
        steps = 0
        while waiting:
            schema = waiting.pop()
            if isinstance(schema, bool):
                never = never or not schema
                continue
            if any(schema is part for part in parts):
                continue
            parts.append(schema)
            waiting.extend(schema.get("allOf", ()))
            if "$ref" in schema:
                steps += 1
                if steps > _REF_STEPS_MAX:
                    raise Unresolvable(schema["$ref"])
                waiting.append(document.resolve(schema["$ref"]))
        return cls(document, tuple(parts), never)

    @property
    def identity(self) -> tuple[int, ...]:
        """Names the set while its schemas live."""
        return tuple(sorted(map(id, self.parts)))

    def having(self, keyword: str) -> Iterator[Any]:
        """What the parts say under a keyword."""
        return (part[keyword] for part in self.parts if keyword in part)

    @property
    def types(self) -> frozenset[str]:
        """Types that an accepted value may have."""
        if "types" not in self._memo:
            found = frozenset[str]() if self.never else TYPES
            for said in self.having("type"):
                found &= expand(said)
            self._memo["types"] = found
        types: frozenset[str] = self._memo["types"]
        return types

    @property
    def empty(self) -> bool:
        """Whether no value is accepted, as far as that is known."""
        return self.never or not self.types or self.values == ()

    @property
    def values(self) -> tuple[Any, ...] | None:
        """All accepted values where they are few and known; None where they are not."""
        if "values" not in self._memo:
            self._memo["values"] = self._find_values()
        values: tuple[Any, ...] | None = self._memo["values"]
        return values

    def _find_values(self) -> tuple[Any, ...] | None:
        if self.never:
            return ()
        listed = [list(said) for said in self.having("enum")] + [[said] for said in self.having("const")]
        if listed:
            candidates = min(listed, key=len)
        elif self.types and self.types <= {"null", "boolean"}:
            candidates = [
                value for value, of in ((None, "null"), (True, "boolean"), (False, "boolean")) if of in self.types
            ]
        else:
            return None
        if len(candidates) > _VALUES_MAX:
            return None
        return tuple(value for value in candidates if all(self.document.accepts(part, value) for part in self.parts))

    # -- parts of a value ----------------

    @property
    def names(self) -> frozenset[str]:
        """Properties that are spoken of by name."""
        return frozenset(name for said in self.having("properties") for name in said)

    @property
    def required(self) -> frozenset[str]:
        """Properties that each accepted object has."""
        return frozenset(name for said in self.having("required") for name in said)

    @property
    def patterns(self) -> dict[str, tuple[Schema, ...]]:
        """Patterns of property names, with the schemas of those properties."""
        found: dict[str, tuple[Schema, ...]] = {}
        for said in self.having("patternProperties"):
            for pattern, schema in said.items():
                found[pattern] = (*found.get(pattern, ()), schema)
        return found

    def member(self, name: str) -> SchemaSet:
        """What a property of an accepted object may be."""
        schemas: list[Schema] = []
        for part in self.parts:
            own = [part["properties"][name]] if name in part.get("properties", ()) else []
            fits = {pattern: matches(pattern, name) for pattern in part.get("patternProperties", ())}
            own += [part["patternProperties"][pattern] for pattern, fit in fits.items() if fit]
            if not own and "additionalProperties" in part and None not in fits.values():
                own = [part["additionalProperties"]]
            schemas += own
        return SchemaSet.of(self.document, *schemas)

    @property
    def other_properties(self) -> SchemaSet:
        """What a property may be that is neither named nor matches a pattern."""
        return SchemaSet.of(self.document, *self.having("additionalProperties"))

    @property
    def prefix(self) -> int:
        """Number of leading items with schemas of their own."""
        return max((len(said) for said in self.having("prefixItems")), default=0)

    def item(self, at: int) -> SchemaSet:
        """What the item at an index may be."""
        schemas: list[Schema] = []
        for part in self.parts:
            prefix = part.get("prefixItems", ())
            if at < len(prefix):
                schemas.append(prefix[at])
            elif isinstance(part.get("items"), dict | bool):
                schemas.append(part["items"])
        return SchemaSet.of(self.document, *schemas)

    # -- bounds ----------------

    def at_least(self, keyword: str) -> Fraction | None:
        """The strictest of lower bounds under a keyword."""
        return max(map(Fraction, self.having(keyword)), default=None)

    def at_most(self, keyword: str) -> Fraction | None:
        """The strictest of upper bounds under a keyword."""
        return min(map(Fraction, self.having(keyword)), default=None)

    # -- alternatives ----------------

    def split(self) -> tuple[SchemaSet, ...] | None:
        """The set as a union of smaller ones: by the first `anyOf` or `oneOf`, else by type; None where it is whole."""
        for at, part in enumerate(self.parts):
            for keyword in ("anyOf", "oneOf"):
                if keyword in part:
                    gone = {keyword, "allOf", "$ref", "unevaluatedProperties", "unevaluatedItems"}
                    rest = {key: value for key, value in part.items() if key not in gone}
                    others = (*self.parts[:at], rest, *self.parts[at + 1 :])
                    return tuple(self._with(others, branch) for branch in part[keyword])
        if len(self.types) > 1 and self.types != TYPES and any(isinstance(said, list) for said in self.having("type")):
            return tuple(self._with(self.parts, {"type": one}) for one in _named(self.types))
        return None

    def _with(self, parts: tuple[dict[str, Any], ...], more: Schema) -> SchemaSet:
        added = SchemaSet.of(self.document, more)
        return SchemaSet(self.document, (*parts, *added.parts), self.never or added.never)


def same(one: Any, other: Any) -> bool:
    """Whether two JSON values are written alike; unlike Python, where `1 == True`."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(same, one, other))
    return bool(one == other)


def expand(said: Any) -> frozenset[str]:
    """The types that a `type` keyword admits."""
    found: set[str] = set()
    for one in said if isinstance(said, list) else [said]:
        found |= {"integer", "fraction"} if one == "number" else {one}
    return frozenset(found)


def matches(pattern: str, name: str) -> bool | None:
    """Whether a property's name matches; None for a pattern that Python does not understand."""
    try:
        return re.search(pattern, name, re.ASCII) is not None
    except re.error:
        return None


def _named(types: frozenset[str]) -> Iterator[str]:
    if types >= {"integer", "fraction"}:
        yield "number"
        types -= {"integer", "fraction"}
    yield from sorted(types)
