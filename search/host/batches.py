"""The host side of search: records in batches of one shape, and methods run on them."""

from __future__ import annotations

import hashlib
import itertools
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from tqdm import tqdm

from toolprm_jax.model.files import LoadedModel
from toolprm_jax.records import DataError, Record
from toolprm_jax.tokens import Codec

from ..core import SearchConfig
from ..decoder import DecoderPolicy, DecoderReward, Prompts
from ..grammar import Grammar, make_grammar, make_schema, schema_size
from ..methods import GUIDED, Method, method_config
from .answers import Answer, answer_of, calls_of
from .profiling import profiled
from .sharded import place_models, place_queries, search_mesh, sharded_prefill, sharded_search
from .vote import majority_vote

_LENGTH_STEP = 64  # prompts are padded to a multiple of it


class Batch(NamedTuple):
    """Records of one compiled shape; the last rows of `prompts` may repeat a record as padding."""

    indices: tuple[int, ...]  # positions of the records in the input
    records: tuple[Record, ...]
    prompts: Prompts


@dataclass(frozen=True)
class Models:
    """A policy and the PRM that guides it, if any.

    Raises:
      ContractError: they don't share vocabulary and template.
      DataError: the PRM is none.
    """

    policy: LoadedModel
    prm: LoadedModel | None = None
    grammar: Grammar = field(init=False)

    def __post_init__(self) -> None:
        codec = self.policy.codec
        if self.prm is not None:
            contract = self.prm.codec.contract
            if contract.granularity is None:
                raise DataError("the PRM has no granularity in its contract: it is a policy")
            contract.check(codec.contract, "vocabulary", "template", "chat_template", "end_of_text")
        grammar = make_grammar(codec, self.policy.model.config.vocab_size)
        object.__setattr__(self, "grammar", grammar)


@dataclass
class MethodRun:
    """All answers of one method, in the order of the records."""

    method: Method
    config: SearchConfig
    answers: list[Answer]
    seconds: float  # without compilation; prefill of the models that the method asks included
    compile_seconds: float
    compilations: int = 0
    parts: dict[str, float] = field(default_factory=dict)  # seconds by part, where profiled


def record_keys(seed: int, records: Sequence[Record]) -> jax.Array:
    """One PRNG key per record, from the seed and a stable hash of its id: key[B]."""
    hashes = [
        int.from_bytes(hashlib.sha256(record.id.encode()).digest()[:4], "little")
        for record in records
    ]
    fold = jax.vmap(jax.random.fold_in, in_axes=(None, 0))
    return fold(jax.random.key(seed), jnp.asarray(hashes, jnp.uint32))


def make_batches(
    codec: Codec, records: Sequence[Record], batch_size: int, max_shapes: int
) -> Iterator[Batch]:
    """Records in batches of few shapes, shortest prompts first.

    Args:
      codec: of the policy.
      records: any number.
      batch_size: B; the last batch of a shape is filled up by repeating a record.
      max_shapes: how many different prompt lengths are compiled at most.
    """
    prompts = [codec.prompt(record) for record in records]
    order = sorted(range(len(records)), key=lambda i: (len(prompts[i]), i))
    groups = -(-len(order) // batch_size)
    per_shape = -(-groups // max_shapes) * batch_size
    for start in range(0, len(order), per_shape):
        members = order[start : start + per_shape]
        longest = max(len(prompts[i]) for i in members)
        length = -(-longest // _LENGTH_STEP) * _LENGTH_STEP
        for first in range(0, len(members), batch_size):
            chosen = members[first : first + batch_size]
            filled = [*chosen, *[chosen[0]] * (batch_size - len(chosen))]
            tokens = np.zeros((batch_size, length), np.int32)
            for row, index in enumerate(filled):
                tokens[row, : len(prompts[index])] = prompts[index]
            lengths = np.asarray([len(prompts[index]) for index in filled], np.int32)
            yield Batch(
                tuple(chosen),
                tuple(records[index] for index in filled),
                Prompts(jnp.asarray(tokens), jnp.asarray(lengths)),
            )


class BatchAnswers(NamedTuple):
    """What all methods made of one batch, and how long each took."""

    indices: tuple[int, ...]  # positions of the records in the input
    answers: dict[Method, list[Answer]]  # in the order of `indices`
    seconds: dict[Method, float]  # without compilation; prefill of the models it asks included
    compile_seconds: dict[Method, float]
    compilations: dict[Method, int]
    parts: dict[Method, dict[str, float]]  # seconds by part, where profiled


class _Compiled:
    """Programs compiled ahead of time, so that compiling is timed apart."""

    def __init__(self) -> None:
        self._programs: dict[Any, Any] = {}

    def get(self, key: Any, lower: Callable[[], Any]) -> tuple[Any, float]:
        """The program of a key, and the seconds that compiling it took just now."""
        if key in self._programs:
            return self._programs[key], 0.0
        start = time.perf_counter()
        self._programs[key] = lower().compile()
        return self._programs[key], time.perf_counter() - start


def configs_of(
    models: Models, methods: Sequence[Method], base: SearchConfig
) -> dict[Method, SearchConfig]:
    """Each method's configuration.

    Raises:
      DataError: a guided method without a PRM.
    """
    guided = [method for method in methods if method in GUIDED]
    if guided and models.prm is None:
        raise DataError(f"method {guided[0]} needs a PRM")
    contract = models.prm.codec.contract if models.prm else None
    granularity = (contract.granularity if contract else None) or "toolprm"
    return {method: method_config(method, base, granularity) for method in methods}


def search_batches(
    models: Models,
    records: Sequence[Record],
    configs: Mapping[Method, SearchConfig],
    *,
    seed: int,
    batch_size: int,
    max_shapes: int = 1,
    skip: int = 0,
    note: Callable[[str], None] = lambda text: None,
    profile: str | None = None,
    tensor: int = 1,
) -> Iterator[BatchAnswers]:
    """Answers records batch by batch; each prompt is prefilled once per model for all methods.

    Args:
      models: policy and PRM.
      records: the queries.
      configs: from `configs_of`.
      seed: with the record's id it fixes every draw.
      batch_size: B.
      max_shapes: of the prompts.
      skip: leaves out so many batches at the start; the others are what they would be.
      note: told what is being done.
      profile: directory for a profiler trace of each search (named METHOD-BATCH).
      tensor: devices that share a model; the queries of a batch are spread over the others.

    Raises:
      DataError: there are fewer devices than `tensor`.
    """
    policy, prm = models.policy, models.prm
    contract = prm.codec.contract if prm else None
    asks_prm = any(method in GUIDED for method in configs)
    mesh = search_mesh(batch_size, tensor)
    asked = (policy, prm if asks_prm else None)
    weights = place_models(mesh, *(model and model.params for model in asked))
    pruned = any(config.schema == "prune" for config in configs.values())
    size = schema_size(records)
    compiled = _Compiled()
    batches = make_batches(policy.codec, records, batch_size, max_shapes)
    for number, batch in itertools.islice(enumerate(batches), skip, None):
        schema = make_schema(batch.records, size) if pruned else None
        keys, prompts, schema = place_queries(
            mesh, record_keys(seed, batch.records), batch.prompts, schema
        )
        shape = prompts.tokens.shape
        caches, prefill_seconds, prefill_compiling = [], [], []
        for which, (loaded, params) in enumerate(zip(asked, weights, strict=True)):
            cache, seconds, compiling = None, 0.0, 0.0
            if loaded is not None:
                lower = partial(sharded_prefill.lower, mesh, loaded.model, params, prompts)
                program, compiling = compiled.get((which, shape), lower)
                start = time.perf_counter()
                cache = jax.block_until_ready(program(params, prompts))
                seconds = time.perf_counter() - start
            caches.append(cache)
            prefill_seconds.append(seconds)
            prefill_compiling.append(compiling)
        out = BatchAnswers(batch.indices, {}, {}, {}, {}, {})
        for method, config in configs.items():
            asks = method in GUIDED
            reward, judge = None, None
            if asks and prm is not None and contract is not None:
                reward, judge = DecoderReward.of(prm.model, contract), contract.granularity
            params = (weights[0], weights[1] if asks else None)
            prefilled = (caches[0], caches[1] if asks else None)
            rules = schema if config.schema == "prune" else None
            inputs = (params, keys, prompts, models.grammar, config, prefilled, rules)
            note(method)
            lower = partial(
                sharded_search.lower, mesh, DecoderPolicy(policy.model), reward, *inputs
            )
            # Methods that differ in leaves of the configuration alone share a program.
            key = (jax.tree.structure(config), asks, shape)
            program, compiling = compiled.get(key, lower)
            start = time.perf_counter()
            if profile is None:
                output = jax.device_get(program(*inputs))
                seconds = time.perf_counter() - start
            else:
                output, parts = profiled(program, inputs, Path(profile, f"{method}-{number}"))
                seconds = sum(parts.values())
                out.parts[method] = {"prefill": sum(prefill_seconds[: 1 + asks]), **parts}
            start = time.perf_counter()
            if method == "majority_vote":
                output = majority_vote(
                    output, lambda tokens: calls_of(policy.codec, policy.codec.decode(tokens))
                )
            seconds += time.perf_counter() - start
            out.seconds[method] = seconds + sum(prefill_seconds[: 1 + asks])
            # Whoever comes first has the prefills compiled for all.
            out.compile_seconds[method] = compiling + sum(prefill_compiling)
            prefill_compiling = []
            out.compilations[method] = int(compiling > 0)
            out.answers[method] = [
                answer_of(policy.codec, records[index], method, output, row, batch.prompts, judge)
                for row, index in enumerate(batch.indices)
            ]
        yield out


def run_methods(
    models: Models,
    records: Sequence[Record],
    methods: Sequence[Method],
    base: SearchConfig,
    *,
    seed: int,
    batch_size: int,
    max_shapes: int = 1,
    progress: bool = True,
    profile: str | None = None,
    tensor: int = 1,
) -> dict[Method, MethodRun]:
    """Answers all records by several methods.

    Args:
      models: policy and PRM.
      records: the queries.
      methods: which methods.
      base: N, M, temperature, limits; `method_config` makes each method's own of it.
      seed: with the record's id it fixes every draw.
      batch_size: B.
      max_shapes: of the prompts.
      progress: whether a bar on standard error shows the rate and the time left.
      profile: as for `search_batches`.
      tensor: as for `search_batches`.

    Raises:
      DataError: a guided method without a PRM, or no records.
    """
    configs = configs_of(models, methods, base)
    if not records:
        raise DataError("no records to search for")
    runs: dict[Method, MethodRun] = {}
    for method in methods:
        runs[method] = MethodRun(method, configs[method], [], 0.0, 0.0)
    places: list[int] = []
    with tqdm(total=len(records), unit="query", disable=not progress, mininterval=1.0) as bar:
        for found in search_batches(
            models,
            records,
            configs,
            seed=seed,
            batch_size=batch_size,
            max_shapes=max_shapes,
            note=bar.set_postfix_str,
            profile=profile,
            tensor=tensor,
        ):
            places += found.indices
            for method, run in runs.items():
                run.answers += found.answers[method]
                run.seconds += found.seconds[method]
                run.compile_seconds += found.compile_seconds[method]
                run.compilations += found.compilations[method]
                for part, seconds in found.parts.get(method, {}).items():
                    run.parts[part] = run.parts.get(part, 0.0) + seconds
            bar.update(len(found.indices))
    order = np.argsort(places)
    for run in runs.values():
        run.answers = [run.answers[place] for place in order]
    return runs
