"""What a config names: tokenizer, contract, decoder, data and the jitted steps."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import grain
import jax
import optax
from jax.sharding import Mesh

from toolprm_jax.model import (
    Decoder,
    DecoderConfig,
    Lora,
    Params,
    checked_shape,
    fresh_rows,
    param_shardings,
    with_lora,
)
from toolprm_jax.model.files import Weights, load_weights
from toolprm_jax.records import DataError
from toolprm_jax.tokens import (
    Codec,
    Contract,
    ContractError,
    TreeBatch,
    load_tokenizer,
    make_contract,
)

from .data import CountedBatch, eval_batches, tree_stream
from .settings import Config as Config
from .sources import (
    DatasetSource,
    MixedSource,
    RecordSource,
    Source,
    StepsSource,
    ToolworldSource,
    check_fits,
)
from .step import (
    Metrics,
    Trainable,
    TrainState,
    make_eval_step,
    make_evaluation,
    make_objective,
    make_optimizer,
    make_schedule,
    make_train_step,
)


class JittedSteps(NamedTuple):
    """The jitted steps of a run, and what its optimizer is made of."""

    schedule: optax.Schedule
    optimizer: optax.GradientTransformation
    train: Callable[[TrainState, TreeBatch], tuple[TrainState, Metrics]]
    evaluate: Callable[[TrainState, TreeBatch], Any]  # sums for lm, scores [B, S] for prm


class Start(NamedTuple):
    """What a run starts from."""

    codec: Codec
    trainable: Trainable
    params: Params | None  # those to train, or None for fresh ones
    frozen: Params  # the base of an adapter, else ()
    base: str  # its name, else ""


def decoder_of(config: Config) -> DecoderConfig:
    """The shape that a config spells out.

    Raises:
      DataError: a field is missing or unknown, or its value can't be used.
    """
    try:
        return checked_shape(DecoderConfig(**config.model.to_dict()), "model")
    except TypeError as error:
        raise DataError(f"model: {error}; or name a model with init") from None


def trainable_of(config: Config, decoder: DecoderConfig, contract: Contract) -> Trainable:
    """What a config trains of a decoder; a PRM's adapter trains the rows of its markers too."""
    if not config.lora.rank:
        return Trainable(Decoder(decoder))
    rows = contract.marker_ids if config.objective == "prm" else ()
    targets = tuple(config.lora.targets.split(","))
    lora = Lora(config.lora.rank, config.lora.alpha, targets, rows)
    return Trainable(with_lora(decoder, lora), lora)


def _adapted(config: Config, weights: Weights, lora: Lora) -> Params | None:
    """The adapter to go on from, with the rows that the run trains, or None for a fresh one.

    Raises:
      DataError: its rank or its targets are others than the config's.
    """
    if weights.adapter is None:
        return None
    found = weights.adapter.lora
    if dataclasses.replace(found, token_ids=lora.token_ids) != lora:
        raise DataError(
            f"lora: {config.init} has rank {found.rank}, alpha {found.alpha} and targets "
            f"{','.join(found.targets)}; the config says otherwise"
        )
    params = weights.adapter.params
    if found.token_ids == lora.token_ids:
        return params
    return {"params": params["params"], **fresh_rows(lora, weights.params)}


def build_start(config: Config, mesh: Mesh) -> Start:
    """Tokenizer and contract, what is trained, and the parameters to start from.

    Those of `init` are read into the layout that they have in training, part by part.

    Raises:
      DataError: a model is missing or damaged, or there is no room for the markers.
    """
    weights = None
    if config.init:
        weights = load_weights(
            config.init,
            # Master weights are float32; a frozen base is stored as it is computed with.
            config.model.dtype if config.lora.rank else "float32",
            lambda abstract: param_shardings(mesh, abstract),
        )
        decoder = dataclasses.replace(
            weights.config, dtype=config.model.dtype, remat=config.model.remat
        )
    elif config.lora.rank:
        raise DataError("lora: expected a base to adapt in init")
    else:
        decoder = decoder_of(config)
    folder = config.tokenizer or (weights.tokenizer if weights else "")
    tokenizer = load_tokenizer(folder)
    is_prm = config.objective == "prm"
    try:
        contract = make_contract(
            tokenizer,
            decoder.vocab_size,
            config.template,
            granularity=config.granularity if is_prm else None,
            target=config.target if is_prm else None,
        )
    except DataError as error:
        raise ContractError(f"{folder}: {error}") from None
    codec, trainable = Codec(tokenizer, contract), trainable_of(config, decoder, contract)
    if weights is None:
        return Start(codec, trainable, None, (), "")
    if trainable.lora is None:
        return Start(codec, trainable, weights.merged(), (), "")
    params = _adapted(config, weights, trainable.lora)
    base = weights.adapter.base if weights.adapter else config.init
    return Start(codec, trainable, params, weights.params, base)


def check_data(config: Config) -> None:
    """Checks that a config names its data, before anything is loaded.

    Raises:
      DataError: a PRM has no records or steps to train on, or none held out.
    """
    data = config.data
    if config.objective != "prm" or data.dataset:
        return
    for prefix in ("", "heldout_") if config.eval_every else ("",):
        if not data[f"{prefix}records"] or not data[f"{prefix}steps"]:
            raise DataError(
                f"data.{prefix}records and data.{prefix}steps: expected file names, or a data set "
                "in data.dataset" + (", or eval_every=0 to hold nothing out" if prefix else "")
            )


def build_source(config: Config, codec: Codec, *, heldout: bool) -> Source:
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
        return StepsSource(
            codec,
            Path(data[f"{prefix}records"]),
            data.format or None,
            Path(data[f"{prefix}steps"]),
            row_length=data.row_length,
            group_size=data.group_size,
        )
    path = data.heldout_records if heldout else data.records
    records = None
    if path:
        records = RecordSource(codec, Path(path), data.format or None, row_length=data.row_length)
        if heldout or data.records_share == 1.0:
            return records
    corpus = ToolworldSource(
        codec,
        seed=data.seed,
        split="heldout" if heldout else data.split,
        groups=data.eval_items if heldout else data.groups,
        group_size=data.group_size,
        row_length=data.row_length,
        masked=1.0 if heldout else data.masked,
    )
    return corpus if records is None else MixedSource(corpus, records, data.records_share)


def check_rows(config: Config, shards: int) -> None:
    """Raises a DataError where the parts of a batch don't divide among devices along it."""
    rows = config.data.rows_per_batch
    if rows % (config.accumulation * shards):
        raise DataError(
            f"data.rows_per_batch: {rows} rows don't divide by accumulation "
            f"{config.accumulation} times the {shards} devices along data and fsdp"
        )


def build_stream(
    config: Config, source: Source, shards: int
) -> grain.DatasetIterator[CountedBatch]:
    """The training batches of this process.

    Raises:
      DataError: the rows of a batch don't divide into accumulation times `shards`, the devices
        along the batch, or these don't divide among the processes; or no item fits a row.
    """
    data = config.data
    rows, processes = data.rows_per_batch, jax.process_count()
    if shards % processes:
        raise DataError(
            f"mesh: expected data times fsdp to be a multiple of the {processes} processes, "
            f"for each reads its own rows; found {shards}"
        )
    check_rows(config, shards)
    check_fits(source, data.row_length)
    return tree_stream(
        source,
        row_length=data.row_length,
        rows=rows // processes,
        seed=config.seed,
        epochs=data.epochs,
        process_index=jax.process_index(),
        process_count=processes,
    )


def build_heldout(config: Config, codec: Codec) -> list[TreeBatch]:
    """The held-out batches `[B, S]`, each as large as one part of a training batch."""
    if not config.eval_every:
        return []
    items = build_source(config, codec, heldout=True)
    count = min(len(items), config.data.eval_items)
    check_fits(items, config.data.row_length, count)
    return eval_batches(
        (items[i] for i in range(count)),
        row_length=config.data.row_length,
        rows=config.data.rows_per_batch // config.accumulation,
    )


def build_steps(config: Config, mesh: Mesh, trainable: Trainable, codec: Codec) -> JittedSteps:
    """Optimizer and jitted steps under the mesh.

    Raises:
      DataError: the optimizer would leave every layer as it is.
    """
    layers, first = trainable.model.config.num_layers, config.lora.first_layer
    if first >= layers:
        raise DataError(f"lora.first_layer: expected one of {layers} layers, found {first}")
    siblings = config.sibling_weight if config.objective == "prm" else 0.0
    objective = make_objective(config.objective, trainable.model, codec.contract, siblings)
    evaluation = make_evaluation(config.objective, trainable.model, codec.contract)
    o = config.optimizer
    schedule = make_schedule(o.learning_rate, o.warmup_steps, config.steps, o.end_fraction)
    optimizer = make_optimizer(
        schedule, o.weight_decay, o.clip_norm, o.b1, o.b2, config.lora.first_layer
    )
    return JittedSteps(
        schedule,
        optimizer,
        make_train_step(mesh, trainable, objective, optimizer),
        make_eval_step(mesh, trainable, evaluation, optimizer),
    )
