"""Prompt templates: a record to the text that a policy and its PRM read.

Every template is written in ChatML turns. Each fixes the dress of its completions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from ..annotation.grammar import Dress
from ..annotation.records import DataError, Record

Turn = tuple[str, str]  # role, content

_HAMMER_TASK = """[BEGIN OF TASK INSTRUCTION]
You are a tool calling assistant. In order to complete the user's request, you need to select one \
or more appropriate tools from the following tools and fill in the correct values for the tool \
parameters. Your specific tasks are:
1. Make one or more function/tool calls to meet the request based on the question.
2. If none of the function can be used, point it out and refuse to answer.
3. If the given question lacks the parameters required by the function, also point it out.

The following are characters that may interact with you
1. user: Provides query or additional information.
2. tool: Returns the results of the tool calling.

[END OF TASK INSTRUCTION]

[BEGIN OF AVAILABLE TOOLS]
"""
_HAMMER_FORMAT = """
[END OF AVAILABLE TOOLS]

[BEGIN OF FORMAT INSTRUCTION]

The output MUST strictly adhere to the following JSON format, and NO other text MUST be included.
The example format is as follows. Please make sure the parameter type is correct. If no function \
call is needed, please directly output an empty list '[]'
```
[
    {"name": "func_name1", "arguments": {"argument1": "value1", "argument2": "value2"}},
    ... (more tool calls as required)
]
```

[END OF FORMAT INSTRUCTION]

"""
_QWEN_HEAD = """You are Qwen, created by Alibaba Cloud. You are a helpful assistant.

# Tools

You may call one or more functions to assist with the user query.

You are provided with function signatures within <tools></tools> XML tags:
<tools>
"""
_QWEN_TAIL = """
</tools>

For each function call, return a json object with function name and arguments within \
<tool_call></tool_call> XML tags:
<tool_call>
{"name": <function-name>, "arguments": <args-json-object>}
</tool_call>"""


def _messages(record: Record) -> list[Turn]:
    return [(message["role"], message["content"]) for message in record.messages]


def _hammer(record: Record) -> list[Turn]:
    tools = json.dumps([tool.to_json() for tool in record.tools], ensure_ascii=False)
    return [("user", f"{_HAMMER_TASK}{tools}{_HAMMER_FORMAT}"), *_messages(record)]


def _qwen(record: Record) -> list[Turn]:
    functions = ({"type": "function", "function": tool.to_json()} for tool in record.tools)
    tools = "\n".join(json.dumps(function, ensure_ascii=False) for function in functions)
    return [("system", f"{_QWEN_HEAD}{tools}{_QWEN_TAIL}"), *_messages(record)]


def _brief_type(schema: Any) -> str:
    """A parameter's schema in a few words: `string`, `array of integer`, `"c"/"f"`, `date`."""
    if not isinstance(schema, Mapping):
        return json.dumps(schema, ensure_ascii=False)
    if "enum" in schema:
        return "/".join(json.dumps(value, ensure_ascii=False) for value in schema["enum"])
    words = str(schema.get("format") or schema.get("type", "any"))
    if "items" in schema:
        words += f" of {_brief_type(schema['items'])}"
    if isinstance(schema.get("properties"), Mapping):
        inner = (f"{name} {_brief_type(s)}" for name, s in schema["properties"].items())
        words += " {" + ", ".join(inner) + "}"
    return words


def _compact(record: Record) -> list[Turn]:
    lines = []
    for tool in record.tools:
        parts = [f"{tool.name}: {tool.description}"]
        for name, schema in tool.properties.items():
            mark = "" if name in tool.required else "?"
            words = f" {name}{mark} {_brief_type(schema)}"
            if isinstance(schema, Mapping):
                words += f": {schema.get('description', '')}"
                if "default" in schema:
                    words += f" = {json.dumps(schema['default'], ensure_ascii=False)}"
            parts.append(words)
        lines.append("\n ".join(parts))
    return [("tools", "\n".join(lines)), *_messages(record)]


@dataclass(frozen=True)
class Template:
    """How a record becomes a prompt, and how its completions are dressed.

    `before` and `after` stand around the calls in the completions that a policy is trained on.
    """

    name: str
    turns: Callable[[Record], list[Turn]]
    dress: Dress
    before: str = ""
    after: str = ""


TEMPLATES: Mapping[str, Template] = {
    template.name: template
    for template in (
        # Of the Hammer 2.1 models (github.com/MadeAgents/Hammer).
        Template("hammer", _hammer, "list", "```\n", "\n```"),
        # Of Qwen2.5's chat template with tools.
        Template("qwen", _qwen, "tool_call"),
        # Ours, for the embedded models: a tenth of the tokens of the others.
        Template("compact", _compact, "list"),
    )
}


def get_template(name: str) -> Template:
    """The template of that name.

    Raises:
      DataError: there is none; the message lists those that exist.
    """
    if name not in TEMPLATES:
        raise DataError(f"unknown template {name!r}; expected one of {', '.join(TEMPLATES)}")
    return TEMPLATES[name]
