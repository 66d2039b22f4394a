"""Llama 3's prompt and dress from the template to the answer."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import jax
import optax
import pytest
from transformers import PreTrainedTokenizerBase

from search.core.config import Execution, SearchConfig
from search.host.pair import ModelPair
from search.host.searcher import Searcher
from toolprm_jax.annotation.labels import label_completion
from toolprm_jax.annotation.steps_file import LabelledCompletion
from toolprm_jax.model.decoder import Decoder, DecoderConfig, init_params
from toolprm_jax.model.files.loading import LoadedModel
from toolprm_jax.model.objectives import lm_sums
from toolprm_jax.records.types import Call, GoldCall, Record, Tool
from toolprm_jax.tokens.codec import Codec
from toolprm_jax.tokens.contract import make_contract
from toolprm_jax.tokens.examples import lm_trees, marked_path
from toolprm_jax.tokens.prompts import get_template
from toolprm_jax.tokens.tree import pack

LLAMA_SPECIALS = ["<|begin_of_text|>", "<|start_header_id|>", "<|end_header_id|>", "<|eot_id|>"]
SCHEMA = {
    "type": "object",
    "properties": {"city": {"enum": ["Oslo", "Rome"]}, "days": {"type": "boolean"}},
    "required": ["city", "days"],
}
RECORD = Record(
    id="0",
    messages=({"role": "user", "content": "Oslo?"},),
    tools=(Tool("weather", "Weather", SCHEMA),),
    answers=(GoldCall("weather", {"city": ("Oslo",), "days": (True,)}),),
)


@pytest.fixture(scope="module")
def policy(small_tokenizer: PreTrainedTokenizerBase) -> LoadedModel:
    tokenizer = copy.deepcopy(small_tokenizer)
    tokenizer.add_tokens(LLAMA_SPECIALS, special_tokens=True)
    rows = len(tokenizer) + 16
    codec = Codec(tokenizer, make_contract(tokenizer, rows, "llama3"))
    config = DecoderConfig(
        vocab_size=rows, hidden_size=16, intermediate_size=32, num_layers=1, num_heads=2,
        num_kv_heads=1, head_dim=8, dtype="float32",
    )  # fmt: skip
    model, params = Decoder(config), init_params(config, jax.random.key(0))
    batch = pack(lm_trees(codec, [RECORD], 1024)[0], 1024)
    optimizer = optax.adam(1e-2)

    @jax.jit
    def step(params: Any, state: Any) -> tuple[Any, Any]:
        gradient = jax.grad(lambda params: lm_sums(model, params, batch)["loss"])(params)
        updates, state = optimizer.update(gradient, state, params)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for _ in range(60):
        params, state = step(params, state)
    return LoadedModel(model, params, codec)


def test_an_answer_is_read_in_the_templates_dress(policy: LoadedModel) -> None:
    config = SearchConfig(
        num_beams=1, beam_width=1, max_tokens=64, pool_size=128, execution=Execution(pass_sizes=1)
    )
    answers = [
        Searcher(ModelPair(policy), replace(config, schema=use), method="greedy")(RECORD)
        for use in ("ignore", "strict")
    ]
    for answer in answers:
        assert answer.text == policy.codec.decode(policy.codec.gold(RECORD)).decode()
        assert answer.finished
        assert answer.calls == (Call("weather", {"city": "Oslo", "days": True}),)


def test_an_answer_at_its_limit_is_closed(policy: LoadedModel) -> None:
    config = SearchConfig(
        num_beams=1,
        beam_width=1,
        max_tokens=14,
        pool_size=128,
        schema="strict",
        execution=Execution(pass_sizes=1),
    )
    answer = Searcher(ModelPair(policy), config, method="greedy")(RECORD)
    assert "closed" in answer.flags
    assert answer.finished
    assert answer.confidence is None
    assert answer.text.startswith('{"name": "weather", "parameters":')
    (call,) = answer.calls
    assert call.name == "weather"
    assert call.arguments["city"] in ("Oslo", "Rome")
    assert isinstance(call.arguments["days"], bool)
    assert "closed" in answer.to_json()["flags"]
    plain = Searcher(ModelPair(policy), replace(config, schema="ignore"), method="greedy")(RECORD)
    assert "unfinished" in plain.flags


def test_a_gold_answer_is_trained_and_labelled_in_llamas_dress(policy: LoadedModel) -> None:
    codec = policy.codec
    text = codec.decode(codec.gold(RECORD)).decode()
    assert text == '{"name": "weather", "parameters": {"city": "Oslo", "days": true}}'
    labelled = label_completion(RECORD, text, dress=get_template("llama3").dress)
    assert labelled.correct
    contract = make_contract(
        codec.tokenizer, policy.model.config.vocab_size, "llama3", "toolprm", "label"
    )
    rollout = LabelledCompletion(text, labelled.steps)
    ids, markers = marked_path(Codec(codec.tokenizer, contract), rollout)
    assert ids[-1] == contract.end_of_text  # where the answer is over
    assert len(markers) == len(labelled.steps)
