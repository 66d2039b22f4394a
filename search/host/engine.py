"""The engine: queries join a search that is under way, and leave it when they are answered.

A fixed number of rows, each with room for one query, lives on the device. `step` takes waiting
queries into free rows, goes on until a query is done, and hands out what is. Nothing is compiled
for how many there are: one program goes on with the search, one ends it, and one for each size of
a packed row takes prompts in.
"""

from __future__ import annotations

import itertools
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from toolprm_jax.records import DataError, Record

from ..core import GUIDED, Method, SearchConfig, SearchOutput, is_strict
from ..decoder import Packed, Prompts
from ..grammar import (
    ANY_CALLS,
    ENGINE_SIZE,
    CallCounts,
    Rules,
    StrictSize,
    compile_tools,
    fits,
    make_strict,
)
from ..methods import method_leaves, shared_config
from .answers import Answer, Closing, answer_of
from .batches import record_keys
from .closing import shortest_closing
from .packing import pack
from .pair import ModelPair
from .prefixes import Prefixes
from .programs import Programs
from .rows import (
    NO_OWN,
    NOBODY,
    Held,
    Joining,
    Own,
    empty_rows,
    give_up,
    go_on,
    join,
    nobody_joins,
    nobodys_rules,
    outcome,
    trace_of,
)
from .tree import search_tree
from .vote import VOTES

Watch = Callable[[dict[str, Any]], None]


@dataclass
class _Query:
    """A query that waits or is being searched for."""

    number: int
    record: Record
    method: Method
    prompt: list[int]
    key: Array  # key[1]
    rules: Rules | None  # [1, ...]
    calls: CallCounts
    own: Own  # numbers
    watch: Watch | None
    shown: int = 0  # decisions that its watcher has seen


class Engine:
    """Answers queries as they come, many at once.

    An answer depends on its query and seed alone, not on who shares the search or when it joined.
    One device; a program of its own may run `step` in a thread, but not in two at once.

    Attributes:
      method: how to search where a query doesn't say.
      methods: those that a query may name, which one program serves.
      programs: what was compiled; after `warm_up` nothing is.
      bytes: that the rows and the models take.
      prefixes: what the rows hold of prompts, and how many tokens of these were run.
    """

    def __init__(
        self,
        pair: ModelPair,
        config: SearchConfig | None = None,
        *,
        method: Method = "fine_grained",
        rows: int = 8,
        longest: int = 512,
        rounds: int = 8,
        tools_size: StrictSize = ENGINE_SIZE,
    ) -> None:
        """Allocates the rows.

        Args:
          pair: policy, and reward model where the method asks one.
          config: what the methods' configurations are made of; strict if None.
          method: how to search; `best_of_n` and `fine_grained` with independent draws allow all
            of `ALIKE`.
          rows: B, queries at once.
          longest: T, tokens of a prompt at most.
          rounds: decisions after which waiting queries are looked at, where none is done before.
          tools_size: what a query's tools may come to, where decoding is strict.

        Raises:
          DataError: the schemas are to prune, or memory doesn't suffice.
        """
        base = SearchConfig(schema="strict") if config is None else config
        if base.schema == "prune":
            raise DataError("engine: expected schema ignore or strict")
        self.pair = pair
        self.method: Method = method
        self._base = base
        self.methods, self._config = shared_config(method, base, pair.granularity)
        self._models = pair.models(method in GUIDED)
        self._rows: list[_Query | None] = [None] * rows
        self._waiting: deque[_Query] = deque()
        self._longest, self._rounds, self._tools_size = longest, rounds, tools_size
        self._numbers = itertools.count()
        self.programs = Programs()
        self.prefixes = Prefixes(rows, longest)
        like = jnp.zeros((rows, longest), jnp.int32)
        self._nothing = self._rules(NOBODY)
        rules = nobodys_rules(self._config, tools_size, rows)
        inputs = (self._models, self._config, rules, like)
        self.bytes = _bytes(jax.eval_shape(empty_rows, *inputs)) + _bytes(self._models)
        room = _memory()
        if self.bytes > room:
            raise DataError(
                f"engine: {rows} rows of {longest} tokens take {self.bytes / 1e9:.1f} GB with the "
                f"models, the device has {room / 1e9:.1f} GB; expected fewer or shorter rows"
            )
        self._held: Held = empty_rows(*inputs)

    def submit(
        self,
        record: Record,
        *,
        seed: int = 0,
        method: Method | None = None,
        temperature: float | None = None,
        top_p: float | None = None,
        answers: int = 1,
        token_limit: int | None = None,
        calls: CallCounts = ANY_CALLS,
        watch: Watch | None = None,
    ) -> int:
        """Takes a query; `step` answers it.

        Args:
          record: the query and its tools.
          seed: with the record's id it fixes every draw.
          method: another than the engine's, of its `methods`.
          temperature: another than the configuration's; `greedy` has none.
          top_p: likewise.
          answers: how many of the best beams are to be whole.
          token_limit: tokens of a completion at most, where that is less than the configuration's.
          calls: the fewest and the most in an answer, where the tools' schemas are strict.
          watch: gets the tree as far as it has grown, see `search_tree`, after every decision and
            with the answer; where the configuration traces.

        Returns:
          A number that the answer will come under.

        Raises:
          DataError: the prompt is too long, the tools too many, calls can't be counted, or there
            is no such method.
        """
        method = self.method if method is None else method
        if method not in self.methods:
            known = ", ".join(self.methods)
            raise DataError(f"method: expected one of {known}; found {method!r}")
        if watch is not None and not self._config.trace:
            raise DataError("watch: expected an engine whose configuration has a trace")
        if calls != ANY_CALLS and self._config.schema != "strict":
            raise DataError("calls: expected schema strict, which alone can count them")
        prompt = self.pair.policy.codec.prompt(record)
        most = min(self._longest, self.pair.policy.model.config.max_positions - 1)
        if len(prompt) > most:
            text = f"record {record.id!r}: the prompt has {len(prompt)} tokens"
            raise DataError(f"{text}, the engine takes {most}")
        key = record_keys(seed, [record])
        own = self._own(method, temperature, top_p, answers, token_limit)
        rules = self._rules(record, calls)
        number = next(self._numbers)
        query = _Query(number, record, method, prompt, key, rules, calls, own, watch)
        self._waiting.append(query)
        return query.number

    def _own(
        self,
        method: Method,
        temperature: float | None,
        top_p: float | None,
        answers: int,
        token_limit: int | None,
    ) -> Own:
        """The leaves of a query's configuration."""
        config = self._config
        limit = config.max_tokens if token_limit is None else min(token_limit, config.max_tokens)
        found = {name: getattr(config, name) for name in Own._fields}
        if len(self.methods) > 1:
            found |= method_leaves(method, self._base, self.pair.granularity)
        given = {"temperature": temperature, "top_p": top_p}
        # The likeliest token stays the likeliest.
        found |= {k: v for k, v in given.items() if v is not None and method != "greedy"}
        return Own(**found | {"answers": answers, "token_limit": limit})

    def cancel(self, number: int) -> bool:
        """Gives a query up, and frees its row; whether it was waiting or being searched for."""
        for query in self._waiting:
            if query.number == number:
                self._waiting.remove(query)
                return True
        row = next((i for i, q in enumerate(self._rows) if q and q.number == number), None)
        if row is None:
            return False
        self._rows[row] = None
        which = jnp.arange(len(self._rows)) == row
        inputs = (self._models, self._held, which, self._config)
        self._held = self._run("release", give_up, *inputs)
        return True

    @property
    def rows(self) -> int:
        """How many queries are searched for at once, at most."""
        return len(self._rows)

    @property
    def load(self) -> tuple[int, int]:
        """How many queries are being searched for, and how many wait."""
        return sum(query is not None for query in self._rows), len(self._waiting)

    def step(self) -> dict[int, Answer]:
        """Goes on until a query is done, or for a few decisions; the answers of those that are."""
        self._admit()
        if not any(self._rows):
            return {}
        watched = [row for row, query in enumerate(self._rows) if query and query.watch]
        rounds = 1 if watched else self._rounds
        inputs = (self._models, self._held, jnp.int32(rounds), self._config)
        self._held, going = self._run("advance", go_on, *inputs)
        going = jax.device_get(going)
        done = [row for row, query in enumerate(self._rows) if query and not going[row]]
        if not done and not watched:
            return {}
        output = self._run("finish", outcome, self._models, self._held, self._config)
        output = jax.device_get(output)
        if vote := VOTES.get(self.method):
            output = vote(output, self.pair.policy.codec)
        for row in watched:
            query = self._rows[row]
            if going[row] and query and query.shown < output.decisions[row]:
                self._show(query, self._answer(query, output, row, None))
        return dict(self._answers(output, done))

    def run(self, records: Iterable[Record], *, seed: int = 0) -> Iterator[tuple[int, Answer]]:
        """Answers records as they get done, with the place of each.

        Args:
          records: the queries; a few are read ahead.
          seed: with a record's id it fixes every draw.

        Raises:
          DataError: as for `submit`.
        """
        left = enumerate(records)
        places: dict[int, int] = {}
        while True:
            room = 2 * len(self._rows) - sum(self.load)
            for place, record in itertools.islice(left, max(room, 0)):
                places[self.submit(record, seed=seed)] = place
            if not places:
                return
            for number, answer in self.step().items():
                yield places.pop(number), answer

    def warm_up(self) -> None:
        """Compiles all that queries will need."""
        rules = nobodys_rules(self._config, self._tools_size, len(self._rows))
        for size in self.prefixes.sizes:
            self._join(nobody_joins(rules, len(self._rows), self._longest, size))
        nobody = jnp.zeros(len(self._rows), bool)
        inputs = (self._models, self._held)
        self._held = self._run("release", give_up, *inputs, nobody, self._config)
        inputs = (self._models, self._held, jnp.int32(self._rounds), self._config)
        self._held, _ = self._run("advance", go_on, *inputs)
        self._run("finish", outcome, self._models, self._held, self._config)
        if self._config.trace:
            self._run("trace", trace_of, self._held, jnp.int32(0))
        if is_strict(self._config):
            self._closing(NOBODY, ANY_CALLS, b"")

    def _closing(self, record: Record, calls: CallCounts, text: bytes) -> bytes | None:
        """What ends a completion that ran against a limit."""
        # Tables of the query's own size are read faster than the rows'.
        rules = make_strict([record], calls=calls) if self._config.schema == "strict" else None
        dress = self.pair.policy.codec.template.dress
        return shortest_closing(self.pair.grammar, rules, 0, record, text, dress)

    def _rules(self, record: Record, calls: CallCounts = ANY_CALLS) -> Rules | None:
        """The tools of one query as arrays, on the host."""
        if self._config.schema != "strict":
            return None
        size = compile_tools(record).size
        if not fits(size, self._tools_size):
            raise DataError(
                f"record {record.id!r}: tools: {size} is more than the engine takes, "
                f"{self._tools_size}"
            )
        return jax.tree.map(np.asarray, make_strict([record], self._tools_size, calls))

    def _run(self, name: str, function: Any, *inputs: Any) -> Any:
        program, _ = self.programs.get(name, lambda: function.lower(*inputs))
        return program(*inputs)

    def _admit(self) -> None:
        """Takes waiting queries into free rows, as many at once as a packed row holds."""
        while self._waiting and None in self._rows:
            free = [row for row, query in enumerate(self._rows) if query is None]
            prompts = [query.prompt for query in itertools.islice(self._waiting, len(free))]
            count, how = self.prefixes.next(prompts, len(free))
            rows = self.prefixes.place(how, prompts[:count], free)
            chosen = [self._waiting.popleft() for _ in rows]
            packed = pack(how, len(self._rows), self._longest)
            self._join(self._joining(packed, chosen, rows))
            for row, query in zip(rows, chosen, strict=True):
                self._rows[row] = query

    def _joining(self, packed: Packed, chosen: list[_Query], rows: list[int]) -> Joining:
        total = len(self._rows)
        order, roots = np.zeros(total, np.int32), np.zeros(total, np.int32)
        fresh = np.zeros(total, bool)
        order[: len(rows)], fresh[rows] = rows, True
        roots[rows] = [query.prompt[-1] for query in chosen]
        by_row = dict(zip(rows, chosen, strict=True))
        owns = [by_row[row].own if row in by_row else NO_OWN for row in range(total)]
        columns = zip(NO_OWN, zip(*owns, strict=True), strict=True)
        own = Own(*(jnp.asarray(mine, jnp.asarray(like).dtype) for like, mine in columns))
        nobody = jax.random.split(jax.random.key(0), 1)
        keys = [by_row[row].key if row in by_row else nobody for row in range(total)]
        rules = [by_row[row].rules if row in by_row else self._nothing for row in range(total)]
        return Joining(
            packed,
            jnp.asarray(order),
            jnp.int32(len(rows)),
            jnp.asarray(fresh),
            jnp.asarray(roots),
            jnp.concatenate(keys),
            jax.tree.map(lambda *leaves: jnp.asarray(np.concatenate(leaves)), *rules),
            own,
        )

    def _join(self, new: Joining) -> None:
        name = f"join {new.packed.tokens.shape[0]}"
        self._held = self._run(name, join, self._models, self._held, new, self._config)

    def _answers(self, output: SearchOutput, done: list[int]) -> Iterator[tuple[int, Answer]]:
        """The answers of rows that are done, which are free from now on."""
        for row in done:
            query = self._rows[row]
            assert query is not None
            self._rows[row] = None

            def close(text: bytes, query: _Query = query) -> bytes | None:
                return self._closing(query.record, query.calls, text)

            ending = close if is_strict(self._config) else None
            answer = self._answer(query, output, row, ending)
            self._show(query, answer)
            yield query.number, answer

    def _answer(self, query: _Query, output: SearchOutput, row: int, close: Closing) -> Answer:
        """What has been found for the query in a row."""
        codec = self.pair.policy.codec
        lengths = np.full(len(self._rows), len(query.prompt))
        prompts = Prompts(jnp.zeros((len(lengths), 1), jnp.int32), jnp.asarray(lengths))
        guided = query.method in GUIDED
        judge = self.pair.granularity if guided else None
        mine = (query.record, query.method, output, row, prompts, judge, close)
        answer = answer_of(codec, *mine)
        if self._config.trace and answer.cost["decisions"]:
            trace = self._run("trace", trace_of, self._held, jnp.int32(row))
            answer.trace = jax.device_get(trace)
            name, best = self.pair.prm_name if guided else None, int(output.best[row])
            answer.drawing = search_tree(codec, answer, self._config, name, best)
        return answer

    def _show(self, query: _Query, answer: Answer) -> None:
        """Tells who watches a query of its tree, where that has grown."""
        decisions = answer.cost["decisions"]
        if query.watch and query.shown < decisions:
            query.shown = decisions
            assert answer.drawing is not None
            query.watch(answer.drawing)


def _bytes(tree: Any) -> int:
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))


def _memory() -> int:
    """Bytes that the device has."""
    stats = jax.local_devices()[0].memory_stats()
    if stats and "bytes_limit" in stats:
        return int(stats["bytes_limit"])
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
