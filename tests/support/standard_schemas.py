"""Calls against their tools' schemas by PyPI's jsonschema, which knows nothing of ours.

    PYTHONPATH=tests/support python -m standard_schemas RUNS DATA

tells how many of the finished answers that `python -m search.studies.compare --runs RUNS` has left
are valid.
"""

from __future__ import annotations

import ast
import contextlib
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jsonschema

from search.grammar.strict_compile import arguments_schema
from search.studies.compare import QUERIES, Pool, data_set
from toolprm_jax.records.jsonl import read_rows
from toolprm_jax.records.types import Call, Record

WORDS = {
    "str": "string", "int": "integer", "long": "integer", "float": "number", "double": "number",
    "decimal": "number", "bool": "boolean", "none": "null", "dict": "object",
    "dictionary": "object", "list": "array", "tuple": "array", "set": "array",
}  # fmt: skip
STANDARD = {"string", "integer", "number", "boolean", "null", "array", "object"}


def python_type(node: ast.AST) -> dict[str, Any]:
    """A type that Python's own parser has read, as JSON Schema; `{}` for what isn't known."""
    if isinstance(node, ast.Constant) and node.value is None:
        return {"type": "null"}
    if isinstance(node, ast.Name):
        word = WORDS.get(node.id.lower(), node.id.lower())
        return {"type": word} if word in STANDARD else {}
    if not isinstance(node, ast.Subscript) or not isinstance(node.value, ast.Name):
        return {}
    inside = node.slice.elts if isinstance(node.slice, ast.Tuple) else [node.slice]
    parts, word = [python_type(part) for part in inside], node.value.id.lower()
    if word in ("optional", "union"):
        parts += [{"type": "null"}] if word == "optional" else []
        return {"anyOf": parts}
    if word == "tuple" and not any(isinstance(p, ast.Constant) for p in inside):
        return {"type": "array", "prefixItems": parts}
    if WORDS.get(word) == "array":
        return {"type": "array", "items": parts[0]}
    if WORDS.get(word) == "object":
        return {"type": "object", "additionalProperties": parts[-1]}
    return {}


def in_standard_words(schema: Any) -> Any:
    """A schema with the type words of xLAM and BFCL in JSON Schema's; a plain reading."""
    if not isinstance(schema, Mapping):
        return schema if isinstance(schema, bool) else True
    out: dict[str, Any] = {}
    named = schema.get("type")
    if isinstance(named, str):
        word = named.removesuffix("optional").rstrip(" ,")
        with contextlib.suppress(SyntaxError):
            out.update(python_type(ast.parse(word, mode="eval").body))
        if word != named and out:
            out = {"anyOf": [out, {"type": "null"}]}
    if isinstance(schema.get("properties"), Mapping):
        inner = schema["properties"]
        out["properties"] = {name: in_standard_words(part) for name, part in inner.items()}
    if isinstance(schema.get("items"), Mapping):
        out["items"] = in_standard_words(schema["items"])
    for word in ("required", "additionalProperties"):
        if isinstance(schema.get(word), list | bool):
            out[word] = schema[word]
    values = schema.get("enum")
    if isinstance(values, list) and values:
        words = {word: out[word] for word in ("type", "anyOf") if word in out}
        alone = jsonschema.Draft202012Validator(words)
        if any(map(alone.is_valid, values)):
            out["enum"] = values
    if "default" in schema and schema["default"] is None and out:
        return {"anyOf": [out, {"type": "null"}]}
    return out


def keeps(record: Record, calls: list[Call]) -> bool:
    """Whether calls fit their tools' schemas, by JSON Schema's validator."""
    for call in calls:
        tools = [tool for tool in record.tools if tool.name == call.name]
        schemas = [in_standard_words(arguments_schema(record, tool)) for tool in tools]
        if not any(
            jsonschema.Draft202012Validator(schema).is_valid(dict(call.arguments))
            for schema in schemas
        ):
            return False
    return True


def main(runs: str, data: str) -> None:
    """Prints a line for each setting of each pool of sets.

    Args:
      runs: the comparison's folder.
      data: that it was given.
    """
    for folder in sorted(Path(runs).iterdir()):
        sets = {name: data_set(name, data, QUERIES) for name in folder.name.split("+")}
        records = Pool.of(sets).records
        for file in sorted(folder.glob("*.jsonl")):
            batches: list[Any] = [row.value for row in read_rows(file)]
            answers = [answer for batch in batches for answer in batch["answers"]]
            finished = [answer for answer in answers if answer["finished"]]
            valid = [
                keeps(
                    records[answer["place"]],
                    [Call(call["name"], call["arguments"]) for call in answer["calls"]],
                )
                for answer in finished
            ]
            print(f"{folder.name} {file.stem}: {sum(valid)} of {len(finished)} finished are valid")


if __name__ == "__main__":
    main(*sys.argv[1:])
