"""Completions sampled from a policy, batch by batch."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any, Literal

import jax
import numpy as np

from toolprm_jax.model.files import LoadedModel
from toolprm_jax.records import Record, json_line, record_to_json

from ..core import Execution, Status
from ..grammar import make_grammar
from .batches import make_batches, record_keys
from .closing import closing_tokens
from .rules import rules_of
from .sharded import place_models, place_queries, search_mesh, sharded_rollouts


def rollouts(
    policy: LoadedModel,
    records: Sequence[Record],
    *,
    count: int,
    temperature: float,
    max_tokens: int,
    seed: int,
    batch_size: int,
    max_shapes: int,
    skip: int = 0,
    tensor: int = 1,
    max_lanes: int = Execution.max_lanes,
    schema: Literal["ignore", "strict"] = "ignore",
) -> Iterator[dict[str, Any]]:
    """Lines of a rollouts file, in the order of the records' prompt lengths.

    Args:
      policy: the model that is sampled.
      records: the queries.
      count: completions per record.
      temperature: of the policy; 0 takes the likeliest token.
      max_tokens: limit of a completion, in tokens.
      seed: with the record's id it fixes every draw.
      batch_size: records that run at once.
      max_shapes: how many prompt lengths are compiled at most.
      skip: leaves out so many lines at the start; the others are what they would be.
      tensor: devices that share the model; the records of a batch are spread over the others.
      max_lanes: tokens that a device runs at once; changes no completion.
      schema: "strict" draws only tokens that keep to the record's tools, and closes what runs
        against the limit in the shortest way that they accept.

    Raises:
      DataError: a record's tools are too large for strict decoding.

    Yields:
      `{"id", "completions", "token_ids"}`, and the places of those that were closed as `"closed"`.
    """
    codec = policy.codec
    grammar = make_grammar(codec, policy.model.config.vocab_size)
    mesh = search_mesh(batch_size, tensor)
    (params,) = place_models(mesh, policy.params)
    rules = rules_of(records, [schema])
    for batch in make_batches(codec, records, batch_size, max_shapes):
        if skip >= len(batch.indices):
            skip -= len(batch.indices)
            continue
        keys, prompts, tools = place_queries(
            mesh, record_keys(seed, batch.records), batch.prompts, rules(batch.records)
        )
        sampled = jax.device_get(
            sharded_rollouts(
                mesh,
                policy.model,
                params,
                keys,
                prompts,
                grammar,
                count=count,
                temperature=temperature,
                max_tokens=max_tokens,
                max_lanes=max_lanes,
                schema=tools,
            )
        )
        for row, index in list(enumerate(batch.indices))[skip:]:
            ids = [
                np.asarray(tokens[:length]).tolist()
                for tokens, length in zip(sampled.tokens[row], sampled.lengths[row], strict=True)
            ]
            closed = []
            for place in np.flatnonzero(sampled.status[row] != Status.STOPPED).tolist():
                if tools is None:
                    break
                rest = closing_tokens(codec, grammar, tools, row, records[index], ids[place])
                if rest is not None:
                    ids[place] += rest
                    closed.append(place)
            texts = [codec.decode(tokens).decode("utf-8", errors="replace") for tokens in ids]
            line = {"id": records[index].id, "completions": texts, "token_ids": ids}
            yield {**line, "closed": closed} if closed else line
        skip = 0


def digest_of(policy: LoadedModel, records: Sequence[Record]) -> str:
    """A hash of weights, text side and queries."""
    digest = hashlib.sha256()
    digest.update(f"{policy.model.config} {policy.codec.contract}".encode())
    for path, leaf in jax.tree.leaves_with_path(policy.params):
        digest.update(f"{jax.tree_util.keystr(path)} {leaf.shape} {leaf.dtype}".encode())
        digest.update(np.asarray(leaf).tobytes())
    for record in records:
        digest.update(json_line(record_to_json(record)).encode())
    return digest.hexdigest()
