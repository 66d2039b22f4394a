"""Records of every format, damaged: odd but legal JSON in odd places."""

from __future__ import annotations

import copy
import json
import random
from pathlib import Path
from typing import Any

SCHEMA = {
    "type": "object",
    "properties": {
        "deck": {"type": "integer", "enum": [1, 2, 3], "default": 2},
        "paint": {"anyOf": [{"type": "string"}, {"type": "null"}], "default": None},
        "spots": {
            "type": "array",
            "items": {"$ref": "#/$defs/Spot"},
            "description": "Where to paint",
        },
        "pair": {"type": "array", "prefixItems": [{"type": "number"}, {"const": "m"}]},
        "note": {"type": ["string", "null"], "format": "date"},
    },
    "required": ["deck"],
    "dependentRequired": {"paint": ["spots"]},
    "allOf": [{"if": {"required": ["note"]}, "then": {"required": ["paint"]}}],
    "$defs": {
        "Spot": {
            "type": "object",
            "properties": {"x": {"type": "number"}, "next": {"$ref": "#/$defs/Spot"}},
            "patternProperties": {"^z_": {"type": "string"}},
            "additionalProperties": False,
        }
    },
}
FLAT = {
    "deck": {"type": "int", "description": "Deck", "default": 2},
    "paint": {"type": "str, optional", "description": "Paint", "default": ""},
    "spots": {"type": "List[Dict[str, Any]]", "description": "Spots"},
}
ARGUMENTS = {"deck": 2, "paint": "red", "spots": [{"x": 1.5, "next": {"x": 2}}]}
CALL = {"name": "paint_deck", "arguments": ARGUMENTS}
TOOLS = [
    {"name": "paint_deck", "description": "Paints a deck", "parameters": SCHEMA},
    {"name": "sand_deck", "description": "Sands a deck", "parameters": FLAT},
]
SAND = {"name": "sand_deck", "arguments": {"deck": 2, "spots": []}}
USER = {"role": "user", "content": "Paint deck 2 red"}
FUNCTION = {"name": "paint_deck", "arguments": json.dumps(ARGUMENTS)}
MESSAGES = [
    {"role": "developer", "content": "Be quick."},
    USER,
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [{"id": "1", "type": "function", "function": FUNCTION}],
    },
    {"role": "tool", "tool_call_id": "1", "name": "paint_deck", "content": "ok"},
    {"role": "assistant", "content": [{"type": "text", "text": "Done."}], "weight": 1},
    USER,
    {"role": "assistant", "content": "", "function_call": FUNCTION},
    {"type": "function_call", "call_id": "2", **FUNCTION},
    {"type": "function_call_output", "call_id": "2", "output": "ok"},
]
CHOICE = {"type": "function", "function": {"name": "paint_deck"}}
HISTORY = [
    {"role": "system", "content": "Be quick."},
    {"role": "assistant", "content": f"<tool_call>{json.dumps(CALL)}</tool_call>", "calls": [CALL]},
    {"role": "tool", "content": json.dumps([CALL]), "name": "paint_deck"},
    {"role": "assistant", "content": "", "tool_calls": MESSAGES[2]["tool_calls"]},
    USER,
]
TRUTH = {"paint_deck": {"deck": [2, ""], "paint": ["red", "crimson"], "spots": [[{"x": [1.5, 1]}]]}}
HAMMER = (
    f"[BEGIN OF AVAILABLE TOOLS]\n{json.dumps(TOOLS)}\n[END OF AVAILABLE TOOLS]\n"
    "[BEGIN OF QUERY]\nPaint deck 2 red\n[END OF QUERY]"
)
ACCEPTED = [{"name": "paint_deck", "arguments": {"deck": [2, 3]}, "optional": ["deck"]}]
JAVA = [{
    "name": "build",
    "description": "Builds",
    "parameters": {"type": "dict", "properties": {
        "sizes": {"type": "ArrayList", "items": {"type": "integer"}, "default": [1]},
        "names": {"type": "HashMap"}, "far": {"type": "long"}}, "required": ["sizes"]},
}]  # fmt: skip
# By what their file is called: the format, and rows with BFCL's truth or without.
SEEDS: dict[str, tuple[str, list[dict[str, Any]]]] = {
    "records.jsonl": (
        "record",
        [
            {"query": "Paint deck 2", "tools": TOOLS, "answers": [CALL, SAND]},
            {"query": MESSAGES[:2], "tools": TOOLS, "accepted": ACCEPTED, "equality": "bfcl"},
            {"query": HISTORY, "tools": TOOLS[:1], "answers": [CALL], "tool_choice": CHOICE},
        ],
    ),
    "xlam.jsonl": (
        "xlam",
        [{"query": "Sand", "tools": json.dumps(TOOLS), "answers": json.dumps([SAND])}],
    ),
    "alpaca.jsonl": (
        "toolalpaca",
        [
            {"query": "Sand", "tools": TOOLS, "answers": [SAND]},
            {"instruction": HAMMER, "input": "", "output": f"```\n{json.dumps([CALL])}\n```"},
        ],
    ),
    "chat.jsonl": (
        "openai",
        [
            {
                "messages": MESSAGES,
                "tools": [{"type": "function", "function": tool} for tool in TOOLS],
                "functions": TOOLS[:1],
            },
            {
                "messages": MESSAGES[:3],
                "tools": [{"name": "paint_deck", "description": "", "input_schema": SCHEMA}],
            },
        ],
    ),
    "simple_python.jsonl": (
        "bfcl",
        [{"question": [[USER]], "function": TOOLS, "truth": [TRUTH]}],
    ),
    "simple_java.jsonl": (
        "bfcl",
        [
            {
                "question": [[USER]],
                "function": JAVA,
                "truth": [{"build": {"sizes": [[1, 2]], "names": [{"a": [1]}], "far": [5]}}],
            }
        ],
    ),
}
_ODD: list[Any] = [
    None, True, False, 0, -1, 1.5, 1e300, 10**400, "", " ", "x", "\u0000", "é\U0001f600", "#", "#/",
    "#/$defs/Spot", "List[", "Optional[str]", "string[]", "OBJECT", "Union[int, None]", "(a+)+$",
    "[", "2024-01-01", [], [[]], [None], ["deck"], [1, "a", None], [{}], {}, {"": {}},
    {"type": "string"}, {"type": ["array", 3]}, {"$ref": "#"}, {"$ref": "#/properties/deck"},
    {"$ref": 3}, {"anyOf": None}, {"anyOf": [3]}, {"enum": None}, {"enum": [[], {}, None]},
    {"properties": None}, {"properties": {"deck": None}}, {"items": [1]}, {"required": "deck"},
    {"name": "paint_deck", "arguments": {}}, {"role": "user", "content": "x"},
]  # fmt: skip
_KEYS = """
type properties required items prefixItems enum const default anyOf oneOf allOf not if then else
$ref $defs definitions additionalProperties patternProperties propertyNames format minimum maximum
dependentRequired dependentSchemas dependencies discriminator propertyOrdering nullable multipleOf
minLength maxItems uniqueItems contains literal language title description $schema $id $anchor name
arguments parameters inputSchema optional role content calls tool_calls function_call function
weight id query tools answers accepted equality foreign turn messages question minItems examples
unevaluatedProperties $dynamicRef
""".split()  # noqa: SIM905


def _places(value: Any) -> list[tuple[Any, Any]]:
    """Every container with each of its keys."""
    found, todo = [], [value]
    while todo:
        item = todo.pop()
        if isinstance(item, dict | list):
            keys = list(item) if isinstance(item, dict) else range(len(item))
            found += [(item, key) for key in keys]
            todo += [item[key] for key in keys]
    return found


def mutated(row: Any, how: random.Random) -> Any:
    """A copy of a row with one to four things changed; JSON in strings is reached, too."""
    row = copy.deepcopy(row)
    for _ in range(how.choice([1, 1, 1, 2, 4])):
        places = _places(row)
        if not places:
            return row
        where, key = how.choice(places)
        old = where[key]
        kind = how.randrange(8)
        if isinstance(old, str) and old[:1] in "[{" and kind < 6:
            try:
                where[key] = json.dumps(mutated(json.loads(old), how))
                continue
            except ValueError:
                pass
        if kind == 0:
            del where[key]
        elif kind == 1 and isinstance(old, dict):
            old[how.choice(_KEYS)] = copy.deepcopy(how.choice(_ODD))
        elif kind == 2 and isinstance(where, dict):
            where[how.choice(_KEYS)] = where.pop(key)
        elif kind == 3:
            other, place = how.choice(places)
            where[key] = copy.deepcopy(other[place]) if place in _keys(other) else None
        elif kind == 4:
            where[key] = how.choice([[old], {"type": old}, {"items": old}, [old, old], str(old)])
        elif kind == 5 and isinstance(old, str) and old:
            at = how.randrange(len(old))
            other = how.choice(["", "\\", '"', "]", "\x7f", "(", "~1"])
            where[key] = old[:at] + other + old[at + 1 :]
        else:
            where[key] = copy.deepcopy(how.choice(_ODD))
    return row


def _keys(where: Any) -> Any:
    return where if isinstance(where, dict) else range(len(where))


def seeds(shared: Path | None) -> dict[str, tuple[str, list[dict[str, Any]]]]:
    """The rows above, and those of shared cases where there are any."""
    found = {name: (format, list(rows)) for name, (format, rows) in SEEDS.items()}
    for path in sorted(shared.glob("*.jsonl")) if shared is not None else ():
        kind = path.name.partition("_")[0]
        name = {"record": "records.jsonl", "xlam": "records.jsonl", "openai": "chat.jsonl"}.get(
            kind
        )
        if name is not None:
            lines = path.read_text(encoding="utf-8").splitlines()
            found[name][1].extend(json.loads(line) for line in lines)
    return found


def write_mutations(
    folder: Path, name: str, rows: list[dict[str, Any]], count: int, how: random.Random
) -> Path:
    """A file of damaged rows, with BFCL's answers beside it where its name asks for them."""
    lines = []
    truths: list[Any] = []
    for number in range(count):
        row = mutated(how.choice(rows), how)
        row = row if isinstance(row, dict) else {"row": row}
        truths.append({"id": str(number), "ground_truth": row.pop("truth", [])})
        lines.append(json.dumps({**row, "id": str(number)}))
    (folder / "possible_answer").mkdir(exist_ok=True, parents=True)
    if name.startswith("simple"):
        text = "\n".join(map(json.dumps, truths))
        (folder / "possible_answer" / name).write_text(text, encoding="utf-8")
    path = folder / name
    path.write_text("\n".join(lines), encoding="utf-8")
    return path
