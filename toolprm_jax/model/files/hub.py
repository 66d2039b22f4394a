"""Models as folders for a hub: weights, tokenizer with the markers, contract, card, NOTICE."""

from __future__ import annotations

import copy
import json
from pathlib import Path

from ...annotation import GRANULARITY
from ...grammar import Kind
from ...records import Record, Tool, atomic_folder
from ...tokens import (
    CONTRACT_FILE,
    Codec,
    Contract,
    add_marker_tokens,
    get_template,
    prompt_text,
)
from ..adapters import Adapter, save_adapter
from .hf import save_model
from .loading import LoadedModel, Origin, origin_of

CARD_FILE, NOTICE_FILE = "README.md", "NOTICE"

_EXAMPLE = Record(
    "example",
    ({"role": "user", "content": "Is it raining in Oslo?"},),
    (
        Tool(
            "weather",
            "The weather in a city now",
            {
                "type": "object",
                "properties": {"city": {"type": "string", "description": "Its name"}},
                "required": ["city"],
            },
        ),
    ),
    None,
)
_PROMPT = """
## Prompt

For the query "Is it raining in Oslo?" and one tool, with special tokens by name:

```text
{prompt}
```
"""
_POLICY_CARD = """\
# A function-calling policy

Written by `toolprm-export`. Prompts are made by the template `{template}` of toolprm_jax, answers
end with token {end_of_text}. `{contract_file}` holds what a reward model must agree on.

```python
from transformers import AutoModelForCausalLM, AutoTokenizer

tokenizer = AutoTokenizer.from_pretrained(directory)
model = AutoModelForCausalLM.from_pretrained(directory)
```
"""
_ADAPTER_CARD = """\
# A LoRA adapter for function calling

Written by `toolprm-train`, in PEFT's layout, on the base `{base}`. It is {what}. `{contract_file}`
holds what policy and reward model must agree on.

`toolprm-export --checkpoint DIRECTORY --out MODEL` merges it into its base and writes a whole model
with a card that says how to use it; commands of toolprm_jax take the directory as it is.
"""
_PRM_CARD = """\
# A process reward model for function calling (ToolPRM, arXiv:2510.14703)

Written by `toolprm-export`. After a decision inside a function call it is shown that decision's
marker, and answers `+` (right) or `-` (wrong). Its contract, `{contract_file}`:

| | |
|---|---|
| prompt template of toolprm_jax | `{template}` |
| decisions that it was trained on | {kinds} |
| label that it was trained on | `{target}` |
| token ids of `-` and `+` | {label_ids} |
| token ids of the markers | {markers} |

The input is the prompt, then the policy's tokens up to and including the one that closes the
decision, then the marker. The score is the softmax over the two label tokens' logits there.

## Score a step with transformers

```python
import json
from pathlib import Path

import torch
from transformers import AutoModelForCausalLM

contract = json.loads(Path(directory, "{contract_file}").read_text())
markers = dict(zip({all_kinds}, contract["marker_ids"]))
model = AutoModelForCausalLM.from_pretrained(directory, dtype=torch.float32)


def p_right(tokens, kind):
    # tokens: ids of the prompt and of the completion up to a decision of that kind
    ids = torch.tensor([[*tokens, markers[kind]]])
    with torch.no_grad():
        logits = model(ids).logits[0, -1, contract["label_ids"]]
    return logits.softmax(-1)[1].item()
```

## Score a step with vLLM

```python
import math

from vllm import LLM, SamplingParams

model = LLM(directory, logprobs_mode="processed_logprobs", enable_prefix_caching=True)
labels = SamplingParams(max_tokens=1, logprobs=2, allowed_token_ids=contract["label_ids"])
answer = model.generate({{"prompt_token_ids": [*tokens, markers[kind]]}}, labels)[0]
p_right = math.exp(answer.outputs[0].logprobs[0][contract["label_ids"][1]].logprob)
```
"""


def _head(origin: Origin, library: str = "transformers") -> str:
    lines = [f"library_name: {library}", "pipeline_tag: text-generation"]
    if origin.license:
        lines.append(f"license: {json.dumps(origin.license)}")
    if origin.base_model:
        lines.append(f"base_model: {json.dumps(origin.base_model)}")
    return "\n".join(["---", *lines, "tags: [function-calling, toolprm]", "---", "", ""])


def model_card(contract: Contract, origin: Origin) -> str:
    """What the model is and how to use it, as Markdown."""
    template = get_template(contract.template)
    prompt = "" if template.own_chat else _PROMPT.format(prompt=prompt_text(_EXAMPLE, template))
    return _head(origin) + _usage(contract) + prompt


def write_adapter(folder: Path, adapter: Adapter, codec: Codec) -> None:
    """Writes an adapter with its contract, tokenizer and card.

    Args:
      folder: an empty one.
      adapter: with its base's name.
      codec: of the model.
    """
    contract, origin = codec.contract, origin_of(adapter.base)
    what = "a policy" if contract.granularity is None else "a process reward model"
    save_adapter(folder, adapter)
    contract.save(folder)
    codec.tokenizer.save_pretrained(str(folder))
    card = _ADAPTER_CARD.format(base=adapter.base, what=what, contract_file=CONTRACT_FILE)
    (folder / CARD_FILE).write_text(_head(origin, "peft") + card)


def _usage(contract: Contract) -> str:
    if contract.granularity is None:
        return _POLICY_CARD.format(
            template=contract.template,
            end_of_text=contract.end_of_text,
            contract_file=CONTRACT_FILE,
        )
    return _PRM_CARD.format(
        template=contract.template,
        contract_file=CONTRACT_FILE,
        target=contract.target,
        label_ids=", ".join(map(str, contract.label_ids)),
        kinds=", ".join(f"`{kind.name}`" for kind in sorted(GRANULARITY[contract.granularity])),
        markers=", ".join(
            f"`{kind.name}` {token_id}"
            for kind, token_id in zip(Kind, contract.marker_ids, strict=True)
        ),
        all_kinds=[kind.name for kind in Kind],
    )


def export_model(
    directory: Path, loaded: LoadedModel, dtype: str = "bfloat16", origin: Origin | None = None
) -> None:
    """Writes weights, tokenizer with the markers, contract and model card: all, or nothing.

    Args:
      directory: a new or empty one.
      loaded: the model.
      dtype: dtype of the stored weights.
      origin: what the card says of the model's base and license.

    Raises:
      DataError: the directory has something in it, or the tokenizer has no room for the markers.
    """
    contract = loaded.codec.contract
    tokenizer = copy.deepcopy(loaded.codec.tokenizer)
    add_marker_tokens(tokenizer, contract)
    with atomic_folder(directory) as folder:
        save_model(folder, loaded.model.config, loaded.params, dtype, tokenizer, contract)
        origin = origin or Origin()
        (folder / CARD_FILE).write_text(model_card(contract, origin))
        if origin.notice:
            (folder / NOTICE_FILE).write_text(origin.notice)
