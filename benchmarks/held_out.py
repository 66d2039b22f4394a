"""Queries for the search benchmarks: held-out ones, among distractor tools."""

from __future__ import annotations

from dataclasses import replace
from itertools import islice
from pathlib import Path

from toolprm_jax.records import Record, Tool, read_records
from toolprm_jax.tokens import Codec
from toolprm_jax.toolworld import masked_corpus

SEED = 77  # of the corpus; no other run uses it
PROMPT_TOKENS = 700  # distractors are added until a prompt has about so many
SEAL_TOOLS = Path(__file__).resolve().parents[2] / "shared/data/seal-tools/seal_tools.jsonl"
SEAL_TRAINED = 1300  # the embedded policy was trained on the first so many of its records


def held_out(codec: Codec, count: int, prompt_tokens: int = PROMPT_TOKENS) -> list[Record]:
    """Queries that call at least one tool.

    They are of the embedded corpus and, where it lies beside the project, of Seal-Tools in turn.

    Args:
      codec: of the policy.
      count: how many.
      prompt_tokens: tools of other records are added as long as a prompt has no more tokens.
    """
    corpus = [r for r in masked_corpus(SEED, "heldout", 4 * count) if r.answers]
    seal: list[Record] = []
    if SEAL_TOOLS.is_file():
        seal = list(islice(read_records(SEAL_TOOLS, None), SEAL_TRAINED, None))
    chosen = corpus[:count]
    if seal:
        step = max(2 * len(seal) // count, 1)
        chosen = [r for pair in zip(corpus, seal[::step], strict=False) for r in pair][:count]
    tools = [tool for record in corpus for tool in record.tools]
    return [_among(codec, record, tools, i, prompt_tokens) for i, record in enumerate(chosen)]


def _among(
    codec: Codec, record: Record, tools: list[Tool], place: int, prompt_tokens: int
) -> Record:
    """The record with tools of others; each starts from another place in their list."""
    names = {tool.name for tool in record.tools}
    for offset in range(len(tools)):
        tool = tools[(7 * place + offset) % len(tools)]
        if tool.name in names:
            continue
        more = replace(record, tools=(*record.tools, tool))
        if len(codec.prompt(more)) > prompt_tokens:
            break
        names.add(tool.name)
        record = more
    return record
