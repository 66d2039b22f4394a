"""Prompt templates: a record to the text that a policy and its PRM read.

Templates are written in the turns of ChatML or of Llama 3, or are the `chat_template` that a
tokenizer carries. Each fixes the dress of its completions.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple, get_args

from ..grammar import Dress
from ..records import Call, DataError, Record, spell_calls
from .brief import brief_type

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
_QWEN2_5_SYSTEM = "You are Qwen, created by Alibaba Cloud. You are a helpful assistant."
_QWEN_HEAD = """# Tools

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


# Of Llama 3.1's chat template, the date that it has where none is given included.
_LLAMA_SYSTEM = """Environment: ipython
Cutting Knowledge Date: December 2023
Today Date: 26 Jul 2024

"""
_LLAMA_HEAD = """Given the following functions, please respond with a JSON for a function call \
with its proper arguments that best answers the given prompt.

Respond in the format {"name": function name, "parameters": dictionary of argument name and its \
value}.Do not use variables.

"""


def _messages(record: Record, dress: Dress) -> list[Turn]:
    """The turns of the conversation; calls of the history follow the text of their message."""
    turns: list[Turn] = []
    for message in record.messages:
        parts = [message["content"]]
        if message.get("calls"):
            calls = [Call(call["name"], call["arguments"]) for call in message["calls"]]
            parts.append(spell_calls(calls, dress))
        turns.append((message["role"], "\n".join(part for part in parts if part)))
    return turns


def _hammer(record: Record) -> list[Turn]:
    tools = json.dumps([tool.to_json() for tool in record.tools], ensure_ascii=False)
    return [("user", f"{_HAMMER_TASK}{tools}{_HAMMER_FORMAT}"), *_messages(record, "list")]


def chat_tools(record: Record) -> list[dict[str, Any]]:
    """The tools as chat templates take them."""
    return [{"type": "function", "function": tool.to_json()} for tool in record.tools]


def chat_messages(record: Record) -> list[dict[str, Any]]:
    """The conversation as chat templates take it, calls of the history as `tool_calls`."""
    messages = []
    for message in record.messages:
        chat = {key: value for key, value in message.items() if key != "calls"}
        if message.get("calls"):
            chat["tool_calls"] = [
                {
                    "type": "function",
                    "function": {"name": call["name"], "arguments": call["arguments"]},
                }
                for call in message["calls"]
            ]
        messages.append(chat)
    return messages


def _qwen(record: Record, system: str) -> list[Turn]:
    """Qwen's turns; `system` is what stands before the tools where the record has nothing."""
    tools = "\n".join(json.dumps(tool, ensure_ascii=False) for tool in chat_tools(record))
    messages = _messages(record, "tool_call")
    if messages[0][0] == "system":
        system = messages.pop(0)[1]
    head = f"{system}\n\n{_QWEN_HEAD}" if system else _QWEN_HEAD
    turns = [("system", f"{head}{tools}{_QWEN_TAIL}")]
    last = ""
    for role, content in messages:
        if role == "tool":
            content = f"<tool_response>\n{content}\n</tool_response>"
            # The results of several calls stand in one turn of the user.
            if last == "tool":
                content = f"{turns.pop()[1]}\n{content}"
        turns.append(("user" if role == "tool" else role, content))
        last = role
    return turns


def _llama(record: Record) -> list[Turn]:
    """Llama 3.1's turns, with the tools in the first of the user."""
    spelled = (json.dumps(tool, ensure_ascii=False, indent=4) for tool in chat_tools(record))
    tools = "".join(f"{tool}\n\n" for tool in spelled)
    messages = _messages(record, "llama")
    system = messages.pop(0)[1].strip() if messages[0][0] == "system" else ""
    turns = [("system", f"{_LLAMA_SYSTEM}{system}")]
    for role, content in messages:
        if role == "tool":
            turns.append(("ipython", json.dumps(content, ensure_ascii=False)))
            continue
        content = content.strip()
        if role == "user" and tools:
            content, tools = f"{_LLAMA_HEAD}{tools}{content}", ""
        turns.append((role, content))
    return turns


def _compact(record: Record) -> list[Turn]:
    lines = []
    for tool in record.tools:
        parts = [f'- "{tool.name}": {tool.description}']
        for name, schema in tool.properties.items():
            mark = "" if name in tool.required else "?"
            words = f" `{name}`{mark} {brief_type(schema, tool.parameters)}"
            if isinstance(schema, Mapping):
                description = schema.get("description")
                words += f": {description if isinstance(description, str) else ''}"
                if "default" in schema:
                    words += f" = {json.dumps(schema['default'], ensure_ascii=False)}"
            parts.append(words)
        lines.append("\n ".join(parts))
    return [("system", "\n".join(lines)), *_messages(record, "list")]


class Frame(NamedTuple):
    """What stands around the role and the content of a turn; special tokens by name.

    A turn is `opening`, the role, `named` if there is one, `gap`, the content, `closing`, `after`.
    """

    opening: str
    named: str
    gap: str
    closing: str
    after: str
    first: str = ""  # special token before all turns

    def begun(self, role: str, content: str) -> str:
        """A turn's text up to the end of its content."""
        return f"{self.opening}{role}{self.named}{self.gap}{content}"


CHATML = Frame("<|im_start|>", "", "\n", "<|im_end|>", "\n")
_LLAMA_FRAME = Frame(
    "<|start_header_id|>", "<|end_header_id|>", "\n\n", "<|eot_id|>", "", "<|begin_of_text|>"
)


@dataclass(frozen=True)
class Template:
    """How a record becomes a prompt, and how its completions are dressed.

    `turns` are those of the prompt in its `frame`, unless `own_chat` says that the tokenizer's own
    `chat_template` renders it. `opening` ends the prompt, at the start of the assistant's turn.
    `before` and `after` stand around the calls in the completions that a policy is trained on.
    """

    name: str
    turns: Callable[[Record], list[Turn]]
    dress: Dress
    before: str = ""
    after: str = ""
    opening: str = ""
    own_chat: bool = False
    frame: Frame = CHATML


TEMPLATES: Mapping[str, Template] = {
    template.name: template
    for template in (
        # Of the Hammer 2.1 models (github.com/MadeAgents/Hammer).
        Template("hammer", _hammer, "list", "```\n", "\n```"),
        # Of the chat templates of Qwen2.5 and of Qwen3, which doesn't think here.
        Template("qwen", partial(_qwen, system=_QWEN2_5_SYSTEM), "tool_call"),
        Template(
            "qwen3", partial(_qwen, system=""), "tool_call", opening="<think>\n\n</think>\n\n"
        ),
        # Of the chat template of Llama 3.1, 3.2 and 3.3.
        Template("llama3", _llama, "llama", frame=_LLAMA_FRAME),
        # The policy's own chat template, by the dress that its completions wear.
        *(
            Template(f"chat_{dress}", partial(_messages, dress=dress), dress, own_chat=True)
            for dress in get_args(Dress)
        ),
        # Ours, for the embedded models: a tenth of the tokens of the others. Names stand in quotes,
        # so that they have the same tokens as in a completion.
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
