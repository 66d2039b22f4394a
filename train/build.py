"""What a config names: tokenizer, contract, decoder, data and the jitted steps."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import grain
import jax
import optax
from jax.sharding import Mesh

from toolprm_jax.annotation.records import DataError
from toolprm_jax.model.decoder import Decoder, DecoderConfig, Params, init_params
from toolprm_jax.model.hf import load_model
from toolprm_jax.model.initial import with_more_layers, with_retrieval_heads
from toolprm_jax.tokens.codec import Codec, load_tokenizer
from toolprm_jax.tokens.contract import make_contract
from toolprm_jax.tokens.tree import TreeBatch

from .data import CopyWarmup, Fed, TreeSource, eval_batches, tree_stream
from .sharding import param_shardings
from .sources import DatasetSource, RecordSource, StepsSource, ToolworldSource
from .step import (
    Metrics,
    TrainState,
    make_eval_step,
    make_evaluation,
    make_objective,
    make_optimizer,
    make_schedule,
    make_train_step,
)

Config = Any  # an ml_collections.ConfigDict, whose attributes have no static types


class Steps(NamedTuple):
    """The jitted steps of a run, and what its optimizer is made of."""

    schedule: optax.Schedule
    optimizer: optax.GradientTransformation
    train: Callable[[TrainState, TreeBatch], tuple[TrainState, Metrics]]
    evaluate: Callable[[TrainState, TreeBatch], Any]  # sums for lm, scores [B, S] for prm


def build_codec(config: Config, mesh: Mesh) -> tuple[Codec, DecoderConfig, Params | None]:
    """Tokenizer and contract, shape of the decoder, and the parameters to start from.

    Those of `init` are read into the layout that they have in training, part by part.

    Raises:
      DataError: a directory is missing or damaged, or there is no room for the markers.
    """
    params = None
    if config.init:
        decoder, params = load_model(
            config.init, shardings=lambda abstract: param_shardings(mesh, abstract)
        )
        decoder = dataclasses.replace(decoder, dtype=config.model.dtype, remat=config.model.remat)
        if config.model.get("more_layers"):
            decoder, params = with_more_layers(
                decoder, params, config.model.more_layers, jax.random.key(config.seed)
            )
    else:
        try:
            decoder = DecoderConfig(**config.model.to_dict())
        except TypeError as error:
            raise DataError(f"model: {error}; or name a directory with init") from None
    tokenizer = load_tokenizer(config.tokenizer or config.init)
    is_prm = config.objective == "prm"
    contract = make_contract(
        tokenizer,
        decoder.vocab_size,
        config.template,
        granularity=config.granularity if is_prm else None,
        target=config.target if is_prm else None,
    )
    codec = Codec(tokenizer, contract)
    if not config.init and config.retrieval_heads:
        fresh, heads = jax.random.split(jax.random.key(config.seed))
        try:
            params = with_retrieval_heads(
                decoder,
                init_params(decoder, fresh),
                heads,
                [codec.token_id(mark) for mark in codec.template.name_marks],
                [codec.token_id(mark) for mark in codec.template.parameter_marks],
            )
        except ValueError as error:
            raise DataError(f"retrieval_heads: {error}") from None
    return codec, decoder, params


def build_source(config: Config, codec: Codec, *, heldout: bool) -> Any:
    """The training data, or the held-out data, that a config names.

    Raises:
      DataError: a file is missing or malformed, or the source doesn't fit the objective.
    """
    data = config.data
    if config.objective == "prm":
        if data.dataset:
            split = "test" if heldout else "train"
            return DatasetSource(codec, data.dataset, split, row_length=data.row_length)
        prefix = "heldout_" if heldout else ""
        if not data[f"{prefix}records"] or not data[f"{prefix}steps"]:
            raise DataError(
                f"data.{prefix}records and data.{prefix}steps: expected file names, "
                "or a data set in data.dataset"
            )
        return StepsSource(
            codec,
            Path(data[f"{prefix}records"]),
            data.format or None,
            Path(data[f"{prefix}steps"]),
            row_length=data.row_length,
        )
    path = data.heldout_records if heldout else data.records
    if path:
        return RecordSource(
            codec,
            Path(path),
            data.format or None,
            row_length=data.row_length,
        )
    return ToolworldSource(
        codec,
        seed=data.seed,
        split="heldout" if heldout else "train",
        groups=data.eval_items if heldout else data.groups,
        group_size=data.group_size,
        row_length=data.row_length,
        max_calls=data.max_calls,
        invented=0.0 if heldout else data.invented,
    )


def build_stream(
    config: Config, codec: Codec, source: TreeSource, shards: int
) -> grain.DatasetIterator[Fed]:
    """The training batches of this process, with the copy warm-up first.

    Raises:
      DataError: the rows of a batch don't divide into accumulation times `shards`, the devices
        along the batch, or these don't divide among the processes.
    """
    data = config.data
    rows, processes = data.rows_per_batch, jax.process_count()
    parts = config.accumulation * shards
    if shards % processes:
        raise DataError(
            f"mesh: expected data times fsdp to be a multiple of the {processes} processes, "
            f"for each reads its own rows; found {shards}"
        )
    if rows % math.lcm(processes * config.accumulation, parts):
        raise DataError(
            f"data.rows_per_batch: {rows} rows don't divide by accumulation "
            f"{config.accumulation} times the {shards} devices along data and fsdp"
        )
    warmup = None
    if data.copy_warmup_rows:
        if config.objective != "lm":
            raise DataError("data.copy_warmup_rows: only for the objective lm")
        warmup = CopyWarmup(
            data.copy_warmup_rows, data.row_length, len(codec.tokenizer), config.seed
        )
    return tree_stream(
        source,
        row_length=data.row_length,
        rows=rows // processes,
        seed=config.seed,
        epochs=data.epochs,
        warmup=warmup,
        process_index=jax.process_index(),
        process_count=processes,
    )


def build_heldout(config: Config, codec: Codec) -> list[TreeBatch]:
    """The held-out batches `[B, S]`, each as large as one part of a training batch."""
    if not config.eval_every:
        return []
    items = build_source(config, codec, heldout=True)
    return eval_batches(
        (items[i] for i in range(min(len(items), config.data.eval_items))),
        row_length=config.data.row_length,
        rows=config.data.rows_per_batch // config.accumulation,
    )


def build_steps(config: Config, mesh: Mesh, model: Decoder, codec: Codec) -> Steps:
    """Optimizer and jitted steps under the mesh."""
    objective = make_objective(config.objective, model, codec.contract)
    evaluation = make_evaluation(config.objective, model, codec.contract)
    o = config.optimizer
    schedule = make_schedule(o.learning_rate, o.warmup_steps, config.steps, o.end_fraction)
    optimizer = make_optimizer(schedule, o.weight_decay, o.clip_norm, o.b1, o.b2)
    return Steps(
        schedule,
        optimizer,
        make_train_step(mesh, model, objective, optimizer),
        make_eval_step(mesh, model, evaluation, optimizer),
    )
