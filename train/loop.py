"""The training loop: steps, metrics, evaluation, checkpoints, resuming."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from tqdm import tqdm

from toolprm_jax.annotation.records import DataError
from toolprm_jax.model.decoder import Decoder
from toolprm_jax.model.hf import save_model
from toolprm_jax.model.prm import Sums, means
from toolprm_jax.tokens.tree import TreeBatch

from .build import Config, build_codec, build_heldout, build_source, build_steps, build_stream
from .checkpoint import Checkpoints, RunFiles
from .data import to_device
from .sharding import batch_sharding, make_mesh
from .step import Metrics, TrainState, init_state, state_shardings

_SHOWN = ("loss", "accuracy", "eval_loss", "eval_accuracy")  # in the progress bar
_log = logging.getLogger(__name__)


class DivergedError(RuntimeError):
    """The loss or the gradient is no longer finite."""


class Result(NamedTuple):
    """How a run ended."""

    state: TrainState
    step: int
    finished: bool  # False after SIGTERM
    metrics: dict[str, float]  # the last line of metrics.jsonl


class _MetricsFile:
    """metrics.jsonl of a run; lines past the step that a run resumes at are dropped."""

    def __init__(self, path: Path, resumed_at: int) -> None:
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        whole = [line for line in lines if line.endswith("\n")]
        path.write_text("".join(line for line in whole if json.loads(line)["step"] <= resumed_at))
        self._file = path.open("a")

    def write(self, values: dict[str, float]) -> None:
        self._file.write(json.dumps({k: round(v, 7) for k, v in values.items()}) + "\n")
        self._file.flush()

    def close(self) -> None:
        self._file.close()


class _Interval:
    """The steps since the last line of metrics; their metrics stay on the device until then."""

    def __init__(self, step: int) -> None:
        self._first, self._metrics = step + 1, list[Metrics]()
        self._tokens, self._since = 0, time.perf_counter()

    def add(self, metrics: Metrics, tokens: int) -> None:
        self._metrics.append(metrics)
        self._tokens += tokens

    def means(self, tokens_per_batch: int) -> dict[str, float]:
        """Means over the steps; raises DivergedError at the first that is not finite."""
        host = [{k: float(v) for k, v in m.items()} for m in jax.device_get(self._metrics)]
        for step, values in enumerate(host, start=self._first):
            if not (math.isfinite(values["loss"]) and math.isfinite(values["grad_norm"])):
                raise DivergedError(
                    f"step {step}: loss {values['loss']}, gradient norm {values['grad_norm']}: "
                    "the run has diverged; try a lower optimizer.learning_rate"
                )
        return {
            **{name: float(np.mean([values[name] for values in host])) for name in host[0]},
            "tokens_per_s": self._tokens / (time.perf_counter() - self._since),
            "fill": self._tokens / (len(host) * tokens_per_batch),
        }


def _evaluate(
    step: Callable[[TrainState, TreeBatch], Sums], state: TrainState, batches: list[TreeBatch]
) -> dict[str, float]:
    """Metrics over all held-out batches, as `eval_` and their names."""
    total: dict[str, np.ndarray] = {}
    for batch in batches:
        for name, value in jax.device_get(step(state, batch)).items():
            total[name] = total.get(name, np.zeros((), np.float64)) + value
    sums: Sums = {name: jax.numpy.float32(value) for name, value in total.items()}
    return {f"eval_{name}": float(value) for name, value in means(sums).items()}


def run(config: Config, workdir: Path, *, resume: bool = True) -> Result:
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
    layout = batch_sharding(mesh)
    codec, decoder, params = build_codec(config)
    model = Decoder(decoder)
    steps = build_steps(config, mesh, model, codec)
    source = build_source(config, codec, heldout=False)
    shards = mesh.shape["data"] * mesh.shape["fsdp"]
    stream = build_stream(config, codec, source, shards)
    heldout = [to_device(batch, layout, 1) for batch in build_heldout(config, codec)]

    workdir.mkdir(parents=True, exist_ok=True)
    folder = workdir / "checkpoints"
    if not resume and folder.exists() and any(folder.iterdir()):
        raise DataError(f"{folder}: holds checkpoints of another run; use --resume=auto")
    resolved = json.loads(config.to_json_best_effort())
    (workdir / "config.json").write_text(json.dumps(resolved, indent=1) + "\n")
    files = RunFiles(decoder, resolved, codec.contract, codec.tokenizer)

    tokens_per_batch = config.data.rows_per_batch // jax.process_count() * config.data.row_length
    stopping: list[int] = []
    previous = signal.signal(signal.SIGTERM, lambda number, _: stopping.append(number))
    checkpoints = Checkpoints(folder, files, config.keep)
    try:
        restored = checkpoints.restore(state_shardings(mesh, model, steps.optimizer)[0], stream)
        if restored is None:
            key = jax.random.key(config.seed)
            step, state = 0, init_state(mesh, model, steps.optimizer, key, params)
        else:
            step, state = restored
            _log.info("resumed at step %d", step)
        del params
        metrics_file = _MetricsFile(workdir / "metrics.jsonl", step)
        last: dict[str, float] = {}
        interval = _Interval(step)
        with (
            contextlib.closing(metrics_file),
            tqdm(total=config.steps, initial=step, unit="step", mininterval=5.0) as bar,
        ):
            while step < config.steps and not stopping:
                try:
                    fed = next(stream)
                except StopIteration:
                    raise DataError(
                        f"the data ends after step {step} of {config.steps}: "
                        "raise data.epochs or lower steps"
                    ) from None
                batch = to_device(fed.batch, layout, config.accumulation)
                state, metrics = steps.train(state, batch)
                interval.add(metrics, fed.tokens)
                step += 1
                bar.update()
                finished = step == config.steps
                evaluating = heldout and (step % config.eval_every == 0 or finished)
                saving = step % config.checkpoint_every == 0 or finished or stopping
                if step % config.log_every == 0 or evaluating or saving:
                    last = {
                        "step": step,
                        **interval.means(tokens_per_batch),
                        "lr": float(np.asarray(steps.schedule(step - 1))),
                        "too_long": len(source.too_long),
                    }
                    if evaluating:
                        last |= _evaluate(steps.evaluate, state, heldout)
                    metrics_file.write(last)
                    bar.set_postfix_str(
                        " ".join(f"{k} {v:.4f}" for k, v in last.items() if k in _SHOWN)
                    )
                    interval = _Interval(step)
                if saving:
                    checkpoints.save(step, state, stream)
    finally:
        signal.signal(signal.SIGTERM, previous)
        stream.close()
        checkpoints.close()
    if source.too_long:
        _log.warning("%d items of the training data don't fit a row", len(source.too_long))
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
