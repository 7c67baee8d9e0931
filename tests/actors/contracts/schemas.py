"""Random JSON Schemas, changed ones, and values that tell them apart; seeded, for tests and for the proof."""

from __future__ import annotations

import random
from typing import Any

NAMES = "abcx"
LEAVES: list[Any] = [True, {}, {"type": "string"}, {"type": "integer"}, {"type": "null"}, {"type": "boolean"}]
VALUES: list[Any] = [1, True, False, None, "a", "b", 2.5, 0, [1], {"a": 1}]
PARTS = ("anyOf", "oneOf", "allOf", "prefixItems")
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")


def document(dice: random.Random) -> dict[str, Any]:
    """A schema with definitions, one of them recursive at times."""
    whole = schema(dice)
    recursive = {"type": "object", "properties": {"a": {"$ref": "#/$defs/B"}, "x": schema(dice, 2)}}
    definitions = {"A": schema(dice, 1), "B": recursive if dice.random() < 0.5 else schema(dice, 1)}
    return {**(whole if isinstance(whole, dict) else {}), "$defs": definitions}


def schema(dice: random.Random, depth: int = 0) -> Any:
    """Any schema, smaller the deeper."""
    if depth > 2 or dice.random() < 0.1:
        return False if dice.random() < 0.02 else dice.choice(LEAVES)
    kinds = (_listed, _number, _string, _object, _object, _object, _array, _alternatives, _alternatives, _other)
    return dice.choice(kinds)(dice, depth)


def _listed(dice: random.Random, _: int) -> Any:
    if dice.random() < 0.3:
        return {"const": dice.choice(VALUES[:8])}
    return {"enum": dice.sample(VALUES, dice.randint(1, 4))}


def _number(dice: random.Random, _: int) -> Any:
    made: dict[str, Any] = {"type": dice.choice(["integer", "number", ["integer", "null"]])}
    made.update({key: dice.choice([-1, 0, 1, 2, 2.5, 5]) for key in BOUNDS if dice.random() < 0.3})
    if dice.random() < 0.2:
        made["multipleOf"] = dice.choice([1, 2, 0.5, 3])
    return made


def _string(dice: random.Random, _: int) -> Any:
    made: dict[str, Any] = {"type": dice.choice(["string", ["string", "null"]])}
    made.update({key: dice.randint(0, 4) for key in ("minLength", "maxLength") if dice.random() < 0.4})
    if dice.random() < 0.2:
        made["pattern"] = dice.choice(["^a", "b$", "a"])
    return made


def _object(dice: random.Random, depth: int) -> Any:
    made: dict[str, Any] = {"type": "object"} if dice.random() < 0.9 else {}
    made["properties"] = {name: schema(dice, depth + 1) for name in dice.sample(NAMES, dice.randint(0, 3))}
    for key, chance, make in (
        ("required", 0.5, lambda: dice.sample(NAMES, dice.randint(0, 2))),
        ("additionalProperties", 0.4, lambda: dice.choice([False, schema(dice, depth + 1)])),
        ("patternProperties", 0.2, lambda: {dice.choice(["^a", "x", "^[bc]$"]): schema(dice, depth + 1)}),
        ("minProperties", 0.1, lambda: dice.randint(0, 2)),
        ("maxProperties", 0.1, lambda: dice.randint(0, 3)),
        ("unevaluatedProperties", 0.05, lambda: False),
        ("propertyNames", 0.05, lambda: schema(dice, depth + 1)),
        ("dependentRequired", 0.05, lambda: {"a": ["b"]}),
    ):
        if dice.random() < chance:
            made[key] = make()
    return made


def _array(dice: random.Random, depth: int) -> Any:
    made: dict[str, Any] = {"type": "array"}
    for key, chance, make in (
        ("items", 0.7, lambda: schema(dice, depth + 1)),
        ("prefixItems", 0.3, lambda: [schema(dice, depth + 1) for _ in range(dice.randint(1, 2))]),
        ("minItems", 0.3, lambda: dice.randint(0, 2)),
        ("maxItems", 0.3, lambda: dice.randint(0, 3)),
        ("uniqueItems", 0.1, lambda: True),
        ("contains", 0.1, lambda: schema(dice, depth + 1)),
    ):
        if dice.random() < chance:
            made[key] = make()
    return made


def _alternatives(dice: random.Random, depth: int) -> Any:
    beside = schema(dice, depth + 1) if dice.random() < 0.2 else {}
    parts = [schema(dice, depth + 1) for _ in range(dice.randint(1, 3))]
    return {**(beside if isinstance(beside, dict) else {}), dice.choice(PARTS[:3]): parts}


def _other(dice: random.Random, depth: int) -> Any:
    if dice.random() < 0.6:
        return {"$ref": dice.choice(["#/$defs/A", "#/$defs/B"])}
    return {"not": schema(dice, depth + 1)}


def changed(dice: random.Random, old: Any) -> Any:
    """A schema like another, as an edit would leave it."""
    if isinstance(old, bool) or dice.random() < 0.1:
        return schema(dice, 2)
    new = {}
    for key, said in old.items():
        if dice.random() < 0.15 and key != "$defs":
            continue
        new[key] = _changed(dice, key, said)
    return new


def _changed(dice: random.Random, key: str, said: Any) -> Any:
    if key == "type":
        return (
            dice.choice(["string", "number", ["string", "null"], ["number", "null"]]) if dice.random() < 0.1 else said
        )
    if key in ("properties", "$defs", "patternProperties"):
        kept = {name: changed(dice, one) if dice.random() < 0.4 else one for name, one in said.items()}
        if key == "properties" and dice.random() < 0.1:
            kept[dice.choice(NAMES)] = schema(dice, 2)
        return kept
    if key in PARTS:
        return [changed(dice, one) if dice.random() < 0.4 else one for one in said]
    if key == "enum":
        return dice.sample(said, dice.randint(1, len(said))) if dice.random() < 0.5 else [*said, "z"]
    if key == "required":
        return dice.sample(said, dice.randint(0, len(said)))
    if key == "dependentRequired":
        return {"a": [dice.choice("bc")]}
    if isinstance(said, dict):
        return changed(dice, said)
    if isinstance(said, int) and not isinstance(said, bool) and key not in ("const", "multipleOf"):
        moved = said + dice.choice([-1, 0, 1])
        return moved if key in BOUNDS else max(0, moved)
    return said


def value(dice: random.Random, depth: int = 0) -> Any:
    """A JSON value."""
    luck = dice.random()
    if depth > 2 or luck < 0.5:
        return dice.choice([None, True, False, 0, 1, 2, -1, 2.5, 3, 5, 0.5, 1.0, "", "a", "b", "ab", "aab", "z"])
    if luck < 0.8:
        return {
            name: value(dice, depth + 1) for name in dice.sample(["a", "b", "c", "x", "ax", "q"], dice.randint(0, 4))
        }
    return [value(dice, depth + 1) for _ in range(dice.randint(0, 3))]
