"""Queries in, answers out: the searches that a loaded pair of models runs, and their programs."""

from __future__ import annotations

import contextlib
import itertools
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.sharding import Mesh

from toolprm_jax.cache import keep_programs
from toolprm_jax.model import Completion, StepScore, param_shardings, score_rollouts
from toolprm_jax.progress import Progress
from toolprm_jax.records import DataError, Record, Tool, query_record

from ..core import GUIDED, METHODS, Method, SearchConfig, SearchOutput, is_strict
from ..decoder import Models
from ..grammar import Rules
from ..methods import method_config
from .answers import Answer, answer_of
from .batches import Batch, length_bucket, make_batches, record_keys
from .closing import shortest_closing
from .likelihood import Likelihood, likelihood
from .pair import ModelPair, load_pair
from .profiling import profiled
from .programs import Compiling, Programs
from .rules import rules_of
from .sharded import place_models, place_queries, search_mesh, sharded_prefill, sharded_search
from .tree import search_tree
from .vote import VOTES

_WINDOW = 8  # batches whose queries are sorted by length together
_MARGIN = 8  # tokens of a scored row beside the text: markers, end of text


@dataclass
class Spent:
    """What answers took."""

    seconds: float = 0.0  # without compilation; prefill of the models that a method asks included
    compile_seconds: float = 0.0
    compilations: int = 0  # of searches
    parts: dict[str, float] = field(default_factory=dict)  # seconds by part, where profiled

    def add(self, other: Spent) -> None:
        """Adds what others took."""
        self.seconds += other.seconds
        self.compile_seconds += other.compile_seconds
        self.compilations += other.compilations
        for part, seconds in other.parts.items():
            self.parts[part] = self.parts.get(part, 0.0) + seconds


@dataclass
class BatchAnswers:
    """What one method made of one batch."""

    indices: tuple[int, ...]  # positions of the records in the input
    answers: list[Answer]  # in the order of `indices`
    spent: Spent


@dataclass
class _Prefill:
    """The prompts of a batch in one model."""

    cache: Any = None
    seconds: float = 0.0
    compile_seconds: float = 0.0


class _Placed(NamedTuple):
    """A batch on the devices of a mesh."""

    batch: Batch
    mesh: Mesh
    keys: Any
    prompts: Any
    schema: Any
    prefills: tuple[_Prefill, ...]  # of the policy and the reward model


class Searcher:
    """Answers queries by search, and owns the programs compiled for it.

    A program is compiled once for each method, length of prompts, number of queries and, with
    schemas, size of these. Prompts are padded to 128, 192, 256, 384, 512 ... tokens (two lengths an
    octave) and batches to a power of two of queries, at most `batch_size`; a query of a known
    bucket compiles nothing. With `compilation_cache` programs are also kept for later processes.

    Args:
      pair: policy and reward model.
      config: N, M, temperature, limits; each method makes its own of it. If None, the defaults
        with strict decoding; an answer that runs against a limit is then closed, and flagged.
      method: the method of a call that names none.
      tensor: devices that share a model; the queries of a batch are spread over the others.

    Raises:
      DataError: a guided method without a reward model.
    """

    def __init__(
        self,
        pair: ModelPair,
        config: SearchConfig | None = None,
        *,
        method: Method = "fine_grained",
        tensor: int = 1,
    ) -> None:
        self.pair, self.programs = pair, Programs()
        self.method: Method = method
        self.base = config or SearchConfig(schema="strict")
        self.spent = Spent()
        self._tensor, self._numbers = tensor, itertools.count()
        self._placed: dict[Mesh, tuple[Any, Any]] = {}
        self.config_of(method)

    @classmethod
    def load(
        cls,
        policy: str = "embedded:policy",
        prm: str | None = "embedded:prm",
        *,
        method: Method = "fine_grained",
        template: str | None = None,
        dtype: str | None = None,
        tensor: int = 1,
        compilation_cache: bool = True,
        **options: Any,
    ) -> Searcher:
        """Loads a pair of models.

        Args:
          policy: a model's name, as for `toolprm_jax.load`.
          prm: that of its reward model; None for methods that ask none.
          method: one of `METHODS`.
          template: prompt template of a policy without a contract.
          dtype: of weights and caches; float32 on a CPU, else bfloat16, if None.
          tensor: devices that share a model.
          compilation_cache: whether compiled programs are kept in the user's cache folder, or in
            `JAX_COMPILATION_CACHE_DIR`.
          **options: fields of `SearchConfig`; `schema` is "strict" unless it is given.

        Raises:
          DataError: there is no such model, or the two don't go together.
        """
        if compilation_cache:
            keep_programs()
        mesh = search_mesh(1, tensor)
        shardings = partial(param_shardings, mesh)
        pair = load_pair(policy, prm, template=template, dtype=dtype, shardings=shardings)
        config = SearchConfig(**{"schema": "strict", **options})
        return cls(pair, config, method=method, tensor=tensor)

    @property
    def config(self) -> SearchConfig:
        """The configuration of the searcher's method, for `search.search` without tools' arrays.

        Where the searcher decodes strictly this keeps to the call grammar alone; with the arrays of
        `make_strict`, `config_of(method)` keeps to the tools too.
        """
        config = self.config_of(self.method)
        if config.schema == "ignore":
            return config
        grammar = "strict" if config.schema == "strict" else config.grammar
        return replace(config, schema="ignore", grammar=grammar)

    @property
    def models(self) -> Models:
        """The models of the searcher's method, for `search.search`."""
        return self.pair.models(self.method in GUIDED)

    def config_of(self, method: Method) -> SearchConfig:
        """A method's own configuration.

        Raises:
          DataError: no such method, or a guided one without a reward model.
        """
        if method not in METHODS:
            raise DataError(f"method: expected one of {', '.join(METHODS)}, found {method!r}")
        if method in GUIDED and self.pair.prm is None:
            raise DataError(f"method {method} needs a PRM")
        return method_config(method, self.base, self.pair.granularity)

    def __call__(
        self,
        query: str | Sequence[Mapping[str, Any]] | Record,
        tools: Sequence[Tool | Mapping[str, Any]] = (),
        *,
        seed: int = 0,
        method: Method | None = None,
        trace: bool = False,
    ) -> Answer:
        """Answers one query.

        Args:
          query: a text, a list of messages, or a record, which has its own tools.
          tools: `Tool`s, or their JSON, bare or as in OpenAI's API.
          seed: with the query it fixes every draw.
          method: another than the searcher's.
          trace: whether the answer can draw its tree; such a search is compiled apart.

        Raises:
          DataError: query or tools can't be used.
        """
        record = query if isinstance(query, Record) else query_record(query, tools)
        found = self.many([record], seed=seed, method=method, trace=trace, progress=False)
        return next(found)

    def many(
        self,
        records: Iterable[Record],
        *,
        method: Method | None = None,
        seed: int = 0,
        batch_size: int = 8,
        trace: bool = False,
        max_shapes: int = 4,
        skip: int = 0,
        profile: str | None = None,
        progress: bool = True,
    ) -> Iterator[Answer]:
        """Answers records, in their order.

        Args:
          records: the queries.
          method: another than the searcher's.
          seed: with a record's id it fixes every draw.
          batch_size: queries at once, at most.
          trace: whether the answers can draw their trees.
          max_shapes: lengths of prompts in use, at most.
          skip: leaves out so many answers at the start; the others are what they would be.
          profile: as for `batches`.
          progress: whether a bar on standard error shows rate and time left.

        Raises:
          DataError: a prompt is longer than the model's positions.
        """
        chosen: Method = method or self.method
        config = replace(self.config_of(chosen), trace=trace)
        total = len(records) if isinstance(records, Sequence) else None
        size = batch_size * _WINDOW
        done = skip - skip % size  # a window that was begun is searched again
        waiting = itertools.islice(records, done, None)
        skip -= done
        with Progress(total, "query", done=done, show=progress) as bar:
            while window := list(itertools.islice(waiting, size)):
                found: dict[int, Answer] = {}
                given = self.batches(
                    window,
                    {chosen: config},
                    seed=seed,
                    batch_size=batch_size,
                    max_shapes=max_shapes,
                    bar=bar,
                    profile=profile,
                )
                for batch in given:
                    found |= dict(zip(batch[chosen].indices, batch[chosen].answers, strict=True))
                yield from (found[place] for place in range(skip, len(window)))
                skip = 0

    def score(
        self, record: Record, completions: Sequence[str | Completion]
    ) -> list[list[StepScore] | DataError]:
        """The reward model's probability of every decision of completions.

        Args:
          record: the query and its tools.
          completions: texts, or pairs of a text and the token ids that a policy sampled.

        Returns:
          Of each the scores in firing order, or why there are none.

        Raises:
          DataError: there is no reward model.
        """
        prm = self.pair.prm
        if prm is None:
            raise DataError("score: expected a searcher with a PRM")
        pairs = [(text, ()) if isinstance(text, str) else text for text in completions]
        longest = max((len(text.encode()) + len(ids) for text, ids in pairs), default=0)
        length = length_bucket(len(prm.codec.prompt(record)) + longest + _MARGIN)
        return next(score_rollouts(prm, [(record, pairs)], row_length=length, rows=1))

    def likelihood(self, record: Record, completion: str | Sequence[int]) -> Likelihood:
        """How likely the policy finds a completion, token by token.

        Args:
          record: the query and its tools.
          completion: a text, or the token ids that a policy sampled, up to where a search ends.

        Returns:
          The policy's own log-probabilities, and those among the tokens that strict decoding leaves
          after each: of the record's tools, or of the grammar where schemas are not strict.

        Raises:
          DataError: the record's tools are too large for strict decoding.
        """
        codec = self.pair.policy.codec
        ids = codec.encode(completion) if isinstance(completion, str) else completion
        rules = rules_of([record], ["strict" if self.base.schema == "strict" else "ignore"])
        return likelihood(self.pair, rules([record]), record, ids)

    def batches(
        self,
        records: Sequence[Record],
        configs: Mapping[Method, SearchConfig],
        *,
        seed: int,
        batch_size: int,
        max_shapes: int = 4,
        skip: int = 0,
        bar: Progress | None = None,
        profile: str | None = None,
    ) -> Iterator[dict[Method, BatchAnswers]]:
        """Answers records batch by batch; each prompt is prefilled once per model for all methods.

        Args:
          records: the queries.
          configs: of each method, from `config_of`.
          seed: with the record's id it fixes every draw.
          batch_size: B at most.
          max_shapes: of the prompts, at most.
          skip: leaves out so many batches at the start; the others are what they would be.
          bar: told of every method's answers.
          profile: directory for a profiler trace of each search (named METHOD-BATCH).

        Raises:
          DataError: a prompt is longer than the model's positions.
        """
        policy = self.pair.policy
        compiling = bar.compiling if bar else contextlib.nullcontext
        make_rules = rules_of(records, [config.schema for config in configs.values()])
        guided = any(method in GUIDED for method in configs)
        most = policy.model.config.max_positions
        batches = make_batches(policy.codec, records, batch_size, max_shapes, most)
        for batch in itertools.islice(batches, skip, None):
            placed = self._place(batch, seed, make_rules(batch.records), guided, compiling)
            number = next(self._numbers)
            out: dict[Method, BatchAnswers] = {}
            for method, config in configs.items():
                if bar:
                    bar.say(method)
                trace = None if profile is None else Path(profile, f"{method}-{number}")
                found = self._search(method, config, placed, compiling, trace)
                if not out:  # whoever comes first has the prefills compiled for all
                    found.spent.compile_seconds += sum(p.compile_seconds for p in placed.prefills)
                self.spent.add(found.spent)
                out[method] = found
                if bar:
                    bar.update(len(batch.indices))
            yield out

    def _weights(self, mesh: Mesh) -> tuple[Any, Any]:
        """Both models' parameters as a mesh reads them."""
        if mesh not in self._placed:
            both = (self.pair.policy, self.pair.prm)
            policy, prm = place_models(mesh, *(one and one.params for one in both))
            self._placed[mesh] = (policy, prm)
        return self._placed[mesh]

    def _place(
        self,
        batch: Batch,
        seed: int,
        rules: Rules | None,
        guided: bool,
        compiling: Compiling,
    ) -> _Placed:
        """A batch on the devices, its prompts prefilled in each model that is asked."""
        mesh = search_mesh(len(batch.records), self._tensor)
        keys, prompts, schema = place_queries(
            mesh, record_keys(seed, batch.records), batch.prompts, rules
        )
        weights = self._weights(mesh)
        prefills = []
        asked = (self.pair.policy, self.pair.prm if guided else None)
        for which, (loaded, params) in enumerate(zip(asked, weights, strict=True)):
            if loaded is None:
                prefills.append(_Prefill())
                continue
            lower = partial(sharded_prefill.lower, mesh, loaded.model, params, prompts)
            key = ("prefill", which, mesh, prompts.tokens.shape)
            program, compile_seconds = self.programs.get(key, lower, compiling)
            start = time.perf_counter()
            cache = jax.block_until_ready(program(params, prompts))
            prefills.append(_Prefill(cache, time.perf_counter() - start, compile_seconds))
        return _Placed(batch, mesh, keys, prompts, schema, tuple(prefills))

    def _search(
        self,
        method: Method,
        config: SearchConfig,
        placed: _Placed,
        compiling: Compiling,
        profile: Path | None,
    ) -> BatchAnswers:
        """One method on one batch."""
        asks, mesh = method in GUIDED, placed.mesh
        policy, prm = placed.prefills
        inputs = (
            self.pair.models(asks, self._weights(mesh)),
            placed.keys,
            placed.prompts,
            config,
            (policy.cache, prm.cache if asks else None),
            None if config.schema == "ignore" else placed.schema,
        )
        # Methods that differ in leaves of the configuration alone share a program.
        shapes = jax.tree.map(lambda leaf: leaf.shape, (placed.prompts, inputs[-1]))
        key = (jax.tree.structure(config), asks, mesh, *jax.tree.leaves(shapes))
        lower = partial(sharded_search.lower, mesh, *inputs)
        program, compile_seconds = self.programs.get(key, lower, compiling)
        prefill_seconds = sum(one.seconds for one in placed.prefills[: 1 + asks])
        parts: dict[str, float] = {}
        start = time.perf_counter()
        if profile is None:
            output = jax.device_get(program(*inputs))
            seconds = time.perf_counter() - start
        else:
            output, parts = profiled(program, inputs, profile)
            seconds = sum(parts.values())
            parts = {"prefill": prefill_seconds, **parts}
        start = time.perf_counter()
        if vote := VOTES.get(method):
            output = vote(output, self.pair.policy.codec)
        seconds += time.perf_counter() - start + prefill_seconds
        return BatchAnswers(
            placed.batch.indices,
            self._answers(method, config, placed, output),
            Spent(seconds, compile_seconds, int(compile_seconds > 0), parts),
        )

    def _answers(
        self, method: Method, config: SearchConfig, placed: _Placed, output: SearchOutput
    ) -> list[Answer]:
        """The answers in a search's output: strict ones closed, traced ones with their trees."""
        codec, asks, batch = self.pair.policy.codec, method in GUIDED, placed.batch
        judge = self.pair.granularity if asks else None

        def close(row: int, text: bytes) -> bytes | None:
            rules = placed.schema if config.schema == "strict" else None
            dress, record = codec.template.dress, batch.records[row]
            return shortest_closing(self.pair.grammar, rules, row, record, text, dress)

        answers = [
            answer_of(
                codec,
                batch.records[row],
                method,
                output,
                row,
                batch.prompts,
                judge,
                partial(close, row) if is_strict(config) else None,
            )
            for row in range(len(batch.indices))
        ]
        if config.trace:
            name = self.pair.prm_name if asks else None
            for row, answer in enumerate(answers):
                best = int(output.best[row])
                answer.drawing = search_tree(codec, answer, config, name, best)
        return answers
