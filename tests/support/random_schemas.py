"""Random JSON Schemas of the keywords that strict decoding enforces, and values for them."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

NAMES = ["a", "ab", "b", "é", 'q"', "a b", "/x", "\n", "日本", "😀", "A\u007f", ""]
TEXTS = ["x", "xy", "", "é", 'say "hi"', "a\\b", "tab\t", "😀", "1", "true", "日"]
TYPES = ["string", "integer", "number", "boolean", "null", "array", "object"]


def some_value(how: random.Random, depth: int = 0) -> Any:
    """Any JSON value."""
    kind = how.randrange(6 if depth > 2 else 8)
    if kind == 6:
        return [some_value(how, depth + 1) for _ in range(how.randrange(3))]
    if kind == 7:
        return {how.choice(NAMES): some_value(how, depth + 1) for _ in range(how.randrange(3))}
    number = how.choice([0, 1, 3.0, -2, 17, 120, 2.5, -0.25, 1e-5, 1e20])
    return [None, True, False, number, how.choice(TEXTS), how.randint(-20, 20)][kind]


def _leaf(how: random.Random) -> dict[str, Any]:
    kind = how.randrange(8)
    if kind == 0:
        return {"enum": [some_value(how, 2) for _ in range(how.randint(1, 4))]}
    if kind == 1:
        return {"const": some_value(how, 1)}
    if kind == 2:
        out: dict[str, Any] = {"type": "string"}
        if how.random() < 0.5:
            out["minLength"] = how.randrange(3)
        if how.random() < 0.5:
            out["maxLength"] = how.randint(1, 4)
        return out
    if kind == 3:
        out = {"type": "integer"}
        if how.random() < 0.6:
            out[how.choice(["minimum", "exclusiveMinimum"])] = how.randint(-150, 20)
        if how.random() < 0.6:
            out[how.choice(["maximum", "exclusiveMaximum"])] = how.randint(20, 1200)
        return out if len(out) > 1 else {"type": "number", "multipleOf": how.choice([1, 3, 20])}
    if kind == 4:
        return {"type": "string", "enum": how.sample(TEXTS, how.randint(1, 4))}
    if kind == 5:
        return {"type": how.sample(TYPES, how.randint(1, 3))}
    return {"type": how.choice(TYPES)}


def some_object(how: random.Random, depth: int, named: list[str]) -> dict[str, Any]:
    """A schema of objects."""
    names = how.sample(NAMES, how.randrange(4))
    out: dict[str, Any] = {"type": "object"}
    if names:
        out["properties"] = {name: some_schema(how, depth - 1, named) for name in names}
    if how.random() < 0.5:
        out["required"] = [name for name in names if how.random() < 0.5]
        if how.random() < 0.1:
            out["required"].append(how.choice(NAMES))
    extra = how.randrange(4)
    if extra < 2:
        out["additionalProperties"] = False
    elif extra == 2:
        out["additionalProperties"] = some_schema(how, depth - 1, named)
    return out


def _array(how: random.Random, depth: int, named: list[str]) -> dict[str, Any]:
    out: dict[str, Any] = {"type": "array"}
    if how.random() < 0.7:
        out["items"] = how.choice([some_schema(how, depth - 1, named), False])
    if how.random() < 0.4:
        count = how.randint(1, 2)
        out["prefixItems"] = [some_schema(how, depth - 1, named) for _ in range(count)]
    if how.random() < 0.4:
        out["minItems"] = how.randrange(3)
    if how.random() < 0.4:
        out["maxItems"] = how.randint(0, 3)
    return out


def some_schema(how: random.Random, depth: int, named: list[str]) -> Any:
    """Any schema; `named` are definitions of the document that it may refer to."""
    kind = how.randrange(12)
    if depth <= 0 or kind < 4:
        return _leaf(how)
    if kind < 6:
        return some_object(how, depth, named)
    if kind == 6:
        return _array(how, depth, named)
    if kind in (7, 8):
        parts = [some_schema(how, depth - 1, named) for _ in range(how.randint(1, 3))]
        out: dict[str, Any] = {"anyOf": parts}
        if how.random() < 0.3:
            out["type"] = how.choice(TYPES)
        return out
    if kind == 9:
        return {"allOf": [some_schema(how, depth - 1, named) for _ in range(2)]}
    if kind == 10 and named:
        return {"$ref": f"#/$defs/{how.choice(named)}"}
    return how.choice([True, {}])


def some_parameters(how: random.Random) -> dict[str, Any]:
    """The `parameters` of a tool, with definitions that may refer to each other."""
    named = how.sample(["n", "m"], how.randrange(3))
    out = some_object(how, 3, named)
    out.setdefault("properties", {})
    if named:
        out["$defs"] = {name: some_schema(how, 2, named) for name in named}
    return out


def instance(how: random.Random, schema: Any, root: Mapping[str, Any], depth: int = 0) -> Any:
    """A value that a schema is likely to accept."""
    if not isinstance(schema, Mapping) or depth > 8 or how.random() < 0.02:
        return some_value(how, 2)
    if "$ref" in schema:
        return instance(how, root["$defs"][schema["$ref"].rpartition("/")[2]], root, depth + 1)
    for word in ("anyOf", "allOf"):
        if word in schema:
            return instance(how, how.choice(schema[word]), root, depth + 1)
    if "const" in schema:
        return schema["const"]
    if "enum" in schema:
        return how.choice(schema["enum"])
    kind = schema.get("type")
    if isinstance(kind, list):
        kind = how.choice(kind)
    if kind == "string":
        least, most = schema.get("minLength", 0), schema.get("maxLength", 4)
        return "".join(how.choices('aé"\\😀\n', k=how.randint(least, max(least, most))))
    if kind in ("integer", "number"):
        near = [schema[w] for w in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
                if w in schema]  # fmt: skip
        number = how.choice([*near, 0, 7, 100]) + how.randint(-2, 2)
        return number if kind == "integer" else how.choice([number, number / 4])
    if kind == "boolean":
        return how.random() < 0.5
    if kind == "null":
        return None
    if kind == "array":
        first = schema.get("prefixItems", [])
        least, most = schema.get("minItems", 0), schema.get("maxItems", 3)
        count = how.randint(least, max(least, most))
        rest = schema.get("items", True)
        return [
            instance(how, first[at] if at < len(first) else rest, root, depth + 1)
            for at in range(count)
        ]
    if kind == "object" or "properties" in schema:
        return _instance_object(how, schema, root, depth)
    return some_value(how, 2)


def _instance_object(
    how: random.Random, schema: Mapping[str, Any], root: Mapping[str, Any], depth: int
) -> dict[str, Any]:
    out = {}
    listed, extra = schema.get("properties", {}), schema.get("additionalProperties", True)
    for name in {**listed, **dict.fromkeys(schema.get("required", []))}:
        if name in schema.get("required", []) or how.random() < 0.4:
            out[name] = instance(how, listed.get(name, extra), root, depth + 1)
    if extra is not False and how.random() < 0.3:
        name = how.choice(NAMES)
        out.setdefault(name, instance(how, listed.get(name, extra), root, depth + 1))
    keys = list(out)
    how.shuffle(keys)
    return {key: out[key] for key in keys}


def write(value: Any, how: random.Random) -> str:
    """JSON with some white space, keys and listed strings spelled as `json.dumps` may."""
    space = how.choice(["", " ", "\n\t"])
    if isinstance(value, Mapping):
        pairs = [f"{write(k, how)}{space}:{space}{write(v, how)}" for k, v in value.items()]
        return "{" + space + f",{space}".join(pairs) + space + "}"
    if isinstance(value, list):
        return "[" + space + f"{space},".join(write(v, how) for v in value) + space + "]"
    return json.dumps(value, ensure_ascii=how.random() < 0.5)
