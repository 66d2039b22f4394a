"""The training loop: data, steps, metrics, evaluation, checkpoints, resuming."""

from __future__ import annotations

import dataclasses
import json
import logging
import math
import signal
import time
from pathlib import Path
from typing import Any, NamedTuple

import grain
import jax
import numpy as np
from ml_collections import ConfigDict
from tqdm import tqdm

from toolprm_jax.annotation.records import DataError
from toolprm_jax.model.decoder import Decoder, DecoderConfig, Params, init_params
from toolprm_jax.model.hf import load_model, save_model
from toolprm_jax.model.initial import with_induction_head
from toolprm_jax.model.prm import means
from toolprm_jax.tokens.codec import Codec, load_tokenizer
from toolprm_jax.tokens.contract import make_contract
from toolprm_jax.tokens.tree import TreeBatch

from .checkpoint import Checkpoints, RunFiles
from .data import CopyWarmup, TreeSource, eval_batches, to_device, tree_stream
from .sharding import batch_sharding, make_mesh
from .sources import RecordSource, StepsSource, ToolworldSource
from .step import (
    TrainState,
    init_state,
    make_eval_step,
    make_objective,
    make_optimizer,
    make_schedule,
    make_train_step,
    state_shardings,
)

_log = logging.getLogger(__name__)


class DivergedError(RuntimeError):
    """The loss or the gradient is no longer finite."""


class Result(NamedTuple):
    """How a run ended."""

    state: TrainState
    step: int
    finished: bool  # False after SIGTERM
    metrics: dict[str, float]  # the last line of metrics.jsonl


def build_codec(config: ConfigDict) -> tuple[Codec, DecoderConfig, Params | None]:
    """Tokenizer and contract, shape of the decoder, and the parameters to start from.

    Raises:
      DataError: a directory is missing or damaged, or there is no room for the markers.
    """
    params = None
    if config.init:
        decoder, params = load_model(config.init)
        decoder = dataclasses.replace(decoder, dtype=config.model.dtype, remat=config.model.remat)
    else:
        decoder = DecoderConfig(**config.model.to_dict())
        if config.induction_head:
            fresh, head = jax.random.split(jax.random.key(config.seed))
            params = with_induction_head(decoder, init_params(decoder, fresh), head)
    tokenizer = load_tokenizer(config.tokenizer or config.init)
    is_prm = config.objective == "prm"
    contract = make_contract(
        tokenizer,
        decoder.vocab_size,
        config.template,
        granularity=config.granularity if is_prm else None,
        target=config.target if is_prm else None,
    )
    return Codec(tokenizer, contract), decoder, params


def build_source(config: ConfigDict, codec: Codec, *, heldout: bool) -> Any:
    """The training data, or the held-out data, that a config names.

    Raises:
      DataError: a file is missing or malformed, or the source doesn't fit the objective.
    """
    data = config.data
    if config.objective == "prm":
        prefix = "heldout_" if heldout else ""
        if not data[f"{prefix}records"] or not data[f"{prefix}steps"]:
            raise DataError(f"data.{prefix}records and data.{prefix}steps: expected file names")
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
    )


def build_stream(
    config: ConfigDict, codec: Codec, source: TreeSource, shards: int
) -> grain.DatasetIterator:
    """The training batches of this process, with the copy warm-up first.

    Raises:
      DataError: the rows of a batch don't divide into accumulation times `shards`, the devices
        along the batch.
    """
    data = config.data
    rows, processes = data.rows_per_batch, jax.process_count()
    parts = config.accumulation * shards
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


class _MetricsFile:
    """metrics.jsonl of a run; lines past the step that a run resumes at are dropped."""

    def __init__(self, path: Path, resumed_at: int) -> None:
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        kept = [line for line in whole if json.loads(line)["step"] <= resumed_at]
        path.write_text("".join(kept) if resumed_at else "")
        self._file = path.open("a")

    def write(self, values: dict[str, float]) -> None:
        self._file.write(json.dumps({k: round(v, 7) for k, v in values.items()}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


def _interval_means(first_step: int, interval: list[dict[str, jax.Array]]) -> dict[str, float]:
    """Means over the steps of an interval; the first step that is not finite ends the run."""
    host = [{k: float(v) for k, v in step.items()} for step in jax.device_get(interval)]
    for offset, step in enumerate(host):
        if not (math.isfinite(step["loss"]) and math.isfinite(step["grad_norm"])):
            raise DivergedError(
                f"step {first_step + offset}: loss {step['loss']}, gradient norm "
                f"{step['grad_norm']}: the run has diverged; try a lower optimizer.learning_rate"
            )
    return {name: float(np.mean([step[name] for step in host])) for name in host[0]}


def run(config: ConfigDict, workdir: Path, *, resume: bool = True) -> Result:
    """Trains as a config says, from the newest checkpoint in the working directory if any.

    Writes `metrics.jsonl`, `config.json`, `checkpoints/STEP/` and, at the end, `model/`.
    SIGTERM ends the run after the step under way, with a checkpoint.

    Args:
      config: see configs/.
      workdir: made where absent.
      resume: False starts afresh; checkpoints already there are an error.

    Raises:
      DataError: the config names data or a model that can't be used, or the data ends early.
      DivergedError: the loss is not finite; nothing is saved from then on.
    """
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
    codec, decoder, params = build_codec(config)
    source = build_source(config, codec, heldout=False)
    stream = build_stream(config, codec, source, mesh.shape["data"] * mesh.shape["fsdp"])
    heldout: list[TreeBatch] = []
    if config.eval_every:
        items = build_source(config, codec, heldout=True)
        heldout = eval_batches(
            (items[i] for i in range(min(len(items), config.data.eval_items))),
            row_length=config.data.row_length,
            rows=config.data.rows_per_batch // config.accumulation,
        )

    model = Decoder(decoder)
    objective = make_objective(config.objective, model, codec.contract)
    o = config.optimizer
    schedule = make_schedule(o.learning_rate, o.warmup_steps, config.steps, o.end_fraction)
    optimizer = make_optimizer(schedule, o.weight_decay, o.clip_norm, o.b1, o.b2)
    train_step = make_train_step(mesh, model, objective, optimizer)
    eval_step = make_eval_step(mesh, model, objective, optimizer)
    layout = batch_sharding(mesh)

    workdir.mkdir(parents=True, exist_ok=True)
    resolved = json.loads(config.to_json_best_effort())
    (workdir / "config.json").write_text(json.dumps(resolved, indent=1) + "\n")
    files = RunFiles(decoder, resolved, codec.contract, codec.tokenizer)
    folder = workdir / "checkpoints"
    if not resume and folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder}: holds checkpoints of another run; use --resume=auto")
    checkpoints = Checkpoints(folder, files, config.keep)
    restored = checkpoints.restore(state_shardings(mesh, model, optimizer)[0], stream)
    if restored is None:
        start = 0
        state = init_state(mesh, model, optimizer, jax.random.key(config.seed), params)
    else:
        start, state = restored
        _log.info("resumed at step %d", start)
    del params

    def evaluate(state: TrainState) -> dict[str, float]:
        total: dict[str, float] = {}
        for batch in heldout:
            for name, value in jax.device_get(eval_step(state, place(batch, 1))).items():
                total[name] = total.get(name, 0.0) + float(value)
        return {f"eval_{name}": float(value) for name, value in means(total).items()}  # type: ignore[arg-type]

    def place(batch: TreeBatch, parts: int) -> TreeBatch:
        return to_device(batch, layout, parts)

    stopping: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    metrics_file = _MetricsFile(workdir / "metrics.jsonl", start)
    last: dict[str, float] = {}
    try:
        with tqdm(total=config.steps, initial=start, unit="step", mininterval=5.0) as bar:
            step, interval, tokens, since = start, [], 0, time.perf_counter()
            while step < config.steps and not stopping:
                try:
                    fed = next(stream)
                except StopIteration:
                    raise DataError(
                        f"the data ends after step {step} of {config.steps}: "
                        "raise data.epochs or lower steps"
                    ) from None
                state, metrics = train_step(state, place(fed.batch, config.accumulation))
                interval.append(metrics)
                tokens += fed.tokens
                step += 1
                bar.update()
                saving = step % config.checkpoint_every == 0
                ending = step == config.steps or bool(stopping)
                evaluating = bool(heldout) and (step % config.eval_every == 0 or ending)
                if step % config.log_every == 0 or saving or ending or evaluating:
                    values = _interval_means(step - len(interval) + 1, interval)
                    seconds = time.perf_counter() - since
                    rows = len(interval) * config.data.rows_per_batch // jax.process_count()
                    last = {
                        "step": step,
                        **values,
                        "lr": float(schedule(step - 1)),
                        "tokens_per_s": tokens / seconds,
                        "fill": tokens / (rows * config.data.row_length),
                        "too_long": len(source.too_long),
                    }
                    if evaluating:
                        last |= evaluate(state)
                    metrics_file.write(last)
                    bar.set_postfix_str(
                        f"loss {last['loss']:.4f} acc {last['accuracy']:.4f}"
                        + (f" eval {last['eval_accuracy']:.4f}" if evaluating else "")
                    )
                    interval, tokens, since = [], 0, time.perf_counter()
                if saving or ending:
                    checkpoints.save(step, state, stream)
    finally:
        signal.signal(signal.SIGTERM, previous)
        metrics_file.close()
        stream.close()
        checkpoints.close()
    if source.too_long:
        _log.warning(
            "%d items of the training data fit no row and were left out", len(source.too_long)
        )
    finished = step >= config.steps
    if finished and jax.process_index() == 0:
        save_model(
            workdir / "model",
            decoder,
            jax.device_get(state.params),
            tokenizer=codec.tokenizer,
            contract=codec.contract,
        )
    return Result(state, step, finished, last)
