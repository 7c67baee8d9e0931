"""Whether one schema's values are another's: known cases, and no proof that a value refutes."""

from __future__ import annotations

import random
from typing import Any

import jsonschema_rs
import pytest

from henslowe.actors.contracts import Why, gaps
from tests.actors.contracts import schemas

STRING = {"type": "string"}
NODE = {
    "type": "object",
    "properties": {"value": STRING, "next": {"$ref": "#/$defs/Node"}},
    "required": ["value"],
}


def listed(*required: str, **properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(required)}


def closed(*required: str, **properties: Any) -> dict[str, Any]:
    return {**listed(*required, **properties), "additionalProperties": False}


WITHIN = {
    "any value within no demand": ({"type": "object"}, {}),
    "an integer is a number": ({"type": "integer"}, {"type": "number"}),
    "a null union in either notation": ({"type": ["string", "null"]}, {"anyOf": [STRING, {"type": "null"}]}),
    "a null union the other way round": ({"anyOf": [STRING, {"type": "null"}]}, {"type": ["null", "string"]}),
    "a value of a list": ({"const": "a"}, {"enum": ["a", "b"]}),
    "listed values within bounds": ({"enum": [1, 3]}, {"type": "integer", "minimum": 1, "maximum": 3}),
    "booleans by their values": ({"type": "boolean"}, {"enum": [True, False]}),
    "narrower bounds": ({"type": "number", "minimum": 2}, {"type": "number", "exclusiveMinimum": 1}),
    "multiples of six": ({"type": "integer", "multipleOf": 6}, {"type": "number", "multipleOf": 3}),
    "a property fewer demanded": (listed("a", "b", a=STRING, b=STRING), listed("a", a=STRING, b=STRING)),
    "an optional property on a closed object": (closed(a=STRING), closed(a=STRING, b=STRING)),
    "a closed object within an open one": (closed("a", a=STRING), listed("a", a=STRING)),
    "what patterns say": (
        {"type": "object", "patternProperties": {"^x-": STRING}, "additionalProperties": False},
        {"type": "object", "additionalProperties": {"type": ["string", "integer"]}},
    ),
    "items": ({"type": "array", "items": {"type": "integer"}}, {"type": "array", "items": {"type": "number"}}),
    "a pair within a list": (
        {"type": "array", "prefixItems": [{"type": "integer"}, {"const": 1}], "items": False},
        {"type": "array", "items": {"type": "integer"}},
    ),
    "parts of allOf": ({"allOf": [STRING, {"minLength": 3}]}, {"type": "string", "minLength": 2}),
    "a part of oneOf with a tag": (
        closed("kind", kind={"const": "a"}),
        {"oneOf": [closed("kind", kind={"const": "a"}), closed("kind", kind={"const": "b"})]},
    ),
    "a recursive schema that got looser": (
        {"$defs": {"Node": NODE}, "$ref": "#/$defs/Node"},
        {"$defs": {"Node": {**NODE, "required": []}}, "$ref": "#/$defs/Node"},
    ),
    "the same condition": (
        {"type": "integer", "if": {"minimum": 3}, "then": {"multipleOf": 2}},
        {"type": "number", "if": {"minimum": 3}, "then": {"multipleOf": 2}},
    ),
}


@pytest.mark.parametrize(("inner", "outer"), WITHIN.values(), ids=WITHIN)
def test_a_set_within_another_is_proven(inner: Any, outer: Any) -> None:
    assert gaps(inner, outer) == ()


BEYOND = {
    "another type": (STRING, {"type": "integer"}, Why.TYPE, ""),
    "null no more": ({"type": ["string", "null"]}, STRING, Why.VALUE, ""),
    "a value fewer": ({"enum": ["a", "b"]}, {"enum": ["a"]}, Why.VALUE, ""),
    "one is not true": ({"const": 1}, {"const": True}, Why.VALUE, ""),
    "a longer minimum": (STRING, {"type": "string", "minLength": 1}, Why.BOUND, ""),
    "an exclusive bound": (
        {"type": "number", "minimum": 0},
        {"type": "number", "exclusiveMinimum": 0},
        Why.BOUND,
        "",
    ),
    "a new demand": (listed(a=STRING), listed("a", a=STRING), Why.REQUIRED, "a"),
    "a demand within": (listed(a=listed(b=STRING)), listed(a=listed("b", b=STRING)), Why.REQUIRED, "a.b"),
    "a property removed from a closed object": (closed(a=STRING, b=STRING), closed(a=STRING), Why.CLOSED, "b"),
    "an open object closed": (listed(a=STRING), closed(a=STRING), Why.CLOSED, "*"),
    "a property that could be anything": (listed(), listed(a=STRING), Why.OPEN, "a"),
    "items of another type": (
        {"type": "array", "items": STRING},
        {"type": "array", "items": {"type": "integer"}},
        Why.TYPE,
        "[]",
    ),
    "another pattern": (
        {"type": "string", "pattern": "^a"},
        {"type": "string", "pattern": "^b"},
        Why.UNPROVEN,
        "",
    ),
    "a reference that leads nowhere": ({"$ref": "#/$defs/no"}, STRING, Why.UNPROVEN, ""),
    "a reference to itself": (STRING, {"$defs": {"A": {"$ref": "#/$defs/A"}}, "$ref": "#/$defs/A"}, Why.UNPROVEN, ""),
    "alternatives that overlap": (
        {"type": "integer"},
        {"oneOf": [{"type": "integer"}, {"type": "number"}]},
        Why.UNPROVEN,
        "",
    ),
}


@pytest.mark.parametrize(("inner", "outer", "why", "path"), BEYOND.values(), ids=BEYOND)
def test_a_gap_says_where_and_of_what_kind_it_is(inner: Any, outer: Any, why: Why, path: str) -> None:
    found = gaps(inner, outer)
    assert (why, path) in [(gap.why, gap.path) for gap in found]


def test_schemas_that_multiply_without_end_are_given_up() -> None:
    many = [{"type": "object", "properties": {str(at): {"const": at}}} for at in range(12)]
    inner: Any = {"allOf": [{"anyOf": many} for _ in range(12)]}
    found = gaps(inner, {"type": "object", "properties": {"x": {"not": {}}}})
    assert [gap.why for gap in found] == [Why.UNPROVEN]


@pytest.mark.parametrize("seed", range(4))
def test_no_value_refutes_a_proof(seed: int) -> None:
    dice = random.Random(seed)
    proven = 0
    for _ in range(1_000):
        inner = schemas.document(dice)
        outer = schemas.changed(dice, inner)
        try:
            of_inner, of_outer = map(jsonschema_rs.Draft202012Validator, (inner, outer))
        except (jsonschema_rs.ValidationError, jsonschema_rs.ReferencingError, ValueError):
            continue
        if gaps(inner, outer):
            continue
        proven += 1
        for _ in range(40):
            value = schemas.value(dice)
            assert of_outer.is_valid(value) or not of_inner.is_valid(value), (inner, outer, value)
    assert proven > 300
