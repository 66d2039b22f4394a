"""The training loop: steps, metrics, evaluation, checkpoints, resuming."""

from __future__ import annotations

import contextlib
import json
import logging
import math
import signal
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
import numpy as np
from etils import epath
from jax.experimental import multihost_utils
from tqdm import tqdm

from toolprm_jax.model import (
    Adapter,
    DecoderConfig,
    Sums,
    batch_sharding,
    make_mesh,
    means,
)
from toolprm_jax.model.files import STEPS_FOLDER, read_run, save_model, write_adapter
from toolprm_jax.records import DataError, sole_writer
from toolprm_jax.tokens import TreeBatch

from .build import (
    Config,
    build_heldout,
    build_source,
    build_start,
    build_steps,
    build_stream,
    check_data,
)
from .checkpoint import Checkpoints, RunFiles, model_folder
from .data import CountedBatch, same_to_device, to_device
from .flops import PEAK_FLOPS, training_flops
from .metrics import decision_metrics
from .step import Metrics, TrainState, init_state, state_shardings
from .writers import Writer, json_lines, tensorboard, weights_and_biases, write_whole

_SHOWN = ("loss", "accuracy", "eval_loss", "eval_accuracy")  # in the progress bar
_log = logging.getLogger(__name__)


class DivergedError(RuntimeError):
    """The loss, the gradient or a parameter is no longer finite."""


class Result(NamedTuple):
    """How a run ended."""

    state: TrainState
    step: int
    finished: bool  # False after SIGTERM
    metrics: dict[str, float]  # the last line of metrics.jsonl


def _check_finite(step: int, values: dict[str, float]) -> None:
    wrong = {k: v for k, v in values.items() if not math.isfinite(v)}
    if wrong:
        found = ", ".join(f"{name} {value}" for name, value in wrong.items())
        raise DivergedError(
            f"step {step}: {found}: the run has diverged; "
            "try a lower optimizer.learning_rate; checkpoints before this step are untouched"
        )


class _Interval:
    """The steps since the last line of metrics; their metrics stay on the device until then."""

    def __init__(self, step: int, config: Config, decoder: DecoderConfig) -> None:
        self._first, self._metrics = step + 1, list[Metrics]()
        self._is_prm, self._decoder = config.objective == "prm", decoder
        self._size = config.data.rows_per_batch * config.data.row_length
        self._flops, self._tokens, self._since = 0.0, 0, time.perf_counter()

    def add(self, metrics: Metrics, counted: CountedBatch) -> None:
        """Takes a step's metrics, and what this process fed to it."""
        self._metrics.append(metrics)
        self._tokens += counted.tokens
        logits = counted.targets * (2 if self._is_prm else self._decoder.vocab_size)
        self._flops += training_flops(self._decoder, counted.tokens, counted.visible, logits)

    def means(self) -> dict[str, float]:
        """Means over the steps; raises DivergedError at the first that is not finite.

        All processes must ask at the same step.
        """
        host = [{k: float(v) for k, v in m.items()} for m in jax.device_get(self._metrics)]
        seconds = time.perf_counter() - self._since
        for step, values in enumerate(host, start=self._first):
            _check_finite(step, values)
        mine = (np.int32(self._tokens), np.float32(self._flops))
        tokens, flops = (float(np.sum(all_)) for all_ in multihost_utils.process_allgather(mine))
        out = {
            **{name: float(np.mean([values[name] for values in host])) for name in host[0]},
            "step_s": seconds / len(host),
            "tokens_per_s": tokens / seconds,
            "flops_per_s": flops / seconds,
            "fill": tokens / (len(host) * self._size),
        }
        if self._is_prm:
            out["decisions_per_s"] = sum(values["weight"] for values in host) / seconds
        device = jax.local_devices()[0]
        if device.device_kind in PEAK_FLOPS:
            peak = PEAK_FLOPS[device.device_kind] * jax.device_count()
            out["mfu"] = out["flops_per_s"] / peak
        memory = device.memory_stats() or {}
        if "peak_bytes_in_use" in memory:
            out["device_peak_gb"] = memory["peak_bytes_in_use"] / 1e9
        return out


def _evaluate(
    step: Callable[[TrainState, TreeBatch], Any],
    state: TrainState,
    batches: list[tuple[TreeBatch, TreeBatch]],
    *,
    is_prm: bool,
) -> dict[str, float]:
    """Metrics over all held-out batches (on the host, on the devices), as `eval_` and names."""
    found = [jax.device_get(step(state, batch)) for _, batch in batches]
    if is_prm:
        metrics = decision_metrics([batch for batch, _ in batches], found)
    else:
        sums: Sums = {
            name: jax.numpy.float32(np.sum([part[name] for part in found])) for name in found[0]
        }
        metrics = {name: float(value) for name, value in means(sums).items()}
    return {f"eval_{name}": value for name, value in metrics.items()}


@contextlib.contextmanager
def _preemption() -> Iterator[Callable[[int], bool]]:
    """Whether SIGTERM has come by the end of a step; of several processes, to any of them."""
    if jax.process_count() > 1:
        # jax.distributed has its own handler, and all processes agree on the step.
        yield multihost_utils.reached_preemption_sync_point
        return
    came: list[int] = []

    def note(number: int, _: Any) -> None:
        came.append(number)
        _log.warning("SIGTERM: stopping after the steps under way, with a checkpoint")

    previous = signal.signal(signal.SIGTERM, note)
    try:
        yield lambda step: bool(came)
    finally:
        signal.signal(signal.SIGTERM, previous)


def _open_writers(
    stack: contextlib.ExitStack, config: Config, workdir: epath.Path, step: int
) -> list[Writer]:
    """The writers of the first process; the others have none."""
    if jax.process_index() != 0:
        return []
    resolved = json.loads(config.to_json_best_effort())
    writers = [stack.enter_context(json_lines(workdir / "metrics.jsonl", step))]
    if config.tensorboard:
        writers.append(stack.enter_context(tensorboard(workdir / "tensorboard", step)))
    if config.wandb:
        writers.append(stack.enter_context(weights_and_biases(config.wandb, workdir, resolved)))
    return writers


def run(
    config: Config,
    workdir: epath.PathLike,
    *,
    resume: bool = True,
    profile: range = range(0),
) -> Result:
    """Trains as a config says, from the newest checkpoint in the working directory if any.

    Writes `metrics.jsonl`, `train_config.json`, `checkpoints/STEP/` and, at the end of a run of one
    process, `model/`.
    SIGTERM ends the run after the step under way, with a checkpoint.

    Args:
      config: see configs/.
      workdir: made where absent; an absolute path, or a bucket's (`gs://`).
      resume: False starts afresh; a directory that holds anything is an error.
      profile: steps whose `jax.profiler` trace is written to `profile/`.

    Raises:
      DataError: the config names data or a model that can't be used, the data ends early, or
        another run writes to the working directory.
      DivergedError: a number is not finite; nothing is saved from then on.
    """
    check_data(config)
    root = epath.Path(workdir)
    if root.exists() and not root.is_dir():
        raise DataError(f"{root}: expected a place for a directory, found a file")
    if not resume and root.exists() and any(root.iterdir()):
        raise DataError(f"{root}: not empty; use another directory or --resume=auto")
    if jax.process_count() > 1:  # nobody writes there before all have looked
        multihost_utils.sync_global_devices("workdir")
    is_prm = config.objective == "prm"
    mesh = make_mesh(config.mesh.data, config.mesh.fsdp, config.mesh.tensor)
    layout = batch_sharding(mesh)
    codec, trainable, params, frozen, base = build_start(config, mesh)
    decoder = trainable.model.config
    steps = build_steps(config, mesh, trainable, codec)
    source = build_source(config, codec, heldout=False)
    shards = mesh.shape["data"] * mesh.shape["fsdp"]
    stream = build_stream(config, source, shards)
    heldout = [(batch, same_to_device(batch, layout)) for batch in build_heldout(config, codec)]

    root.mkdir(parents=True, exist_ok=True)
    resolved = json.loads(config.to_json_best_effort())
    files = RunFiles(decoder, resolved, codec.contract, codec.tokenizer, trainable.lora, base)
    with contextlib.ExitStack() as stack:
        if jax.process_index() == 0 and "://" not in str(root):  # buckets have no locks
            stack.enter_context(sole_writer(root / "metrics.jsonl"))
        checkpoints = Checkpoints(root / STEPS_FOLDER, files, config.keep, config.keep_best)
        # First in, last out: SIGTERM waits for the checkpoint under way too.
        preempted = stack.enter_context(_preemption())
        stack.callback(checkpoints.close)
        stack.callback(stream.close)
        abstract = state_shardings(mesh, trainable, steps.optimizer)[0]
        restored = checkpoints.restore(abstract, stream, frozen)
        if restored is None:
            key = jax.random.key(config.seed)
            step, state = 0, init_state(mesh, trainable, steps.optimizer, key, params, frozen)
        else:
            step, state = restored
            # What was left out before counts on.
            source.too_long.update(read_run(root / STEPS_FOLDER / str(step))["too_long"])
            _log.info("resumed at step %d", step)
        # A run that is over stays what its config says.
        if jax.process_index() == 0 and step < config.steps:
            write_whole(root / "train_config.json", json.dumps(resolved, indent=1) + "\n")
        del params, frozen
        writers = _open_writers(stack, config, root, step)
        last: dict[str, float] = {}
        interval = _Interval(step, config, decoder)
        bar = stack.enter_context(
            tqdm(total=config.steps, initial=step, unit="step", mininterval=5.0)
        )
        bar.set_postfix_str("compiling")
        under_way: Metrics = {}
        stop = False
        while step < config.steps and not stop:
            if step + 1 == profile.start < profile.stop:
                jax.profiler.start_trace(str(root / "profile"))
                stack.callback(_stop_trace)
            try:
                counted = next(stream)
            except StopIteration:
                raise DataError(
                    f"the data ends after step {step} of {config.steps}: "
                    "raise data.epochs or lower steps"
                ) from None
            batch = to_device(counted.batch, layout, config.accumulation)
            state, metrics = steps.train(state, batch)
            # One step runs while the next is made ready; the bar counts those that are over.
            jax.block_until_ready(under_way)
            if under_way and "compiling" in bar.postfix:
                bar.set_postfix_str("")
            bar.update(step - bar.n)
            under_way = metrics
            interval.add(metrics, counted)
            step += 1
            if step == profile.stop - 1:
                jax.block_until_ready(state)
                _stop_trace()
            stop = preempted(step)
            finished = step == config.steps
            evaluating = bool(heldout) and (step % config.eval_every == 0 or finished)
            saving = step % config.checkpoint_every == 0 or finished or stop
            # What is compared must be there to be kept.
            saving = saving or (evaluating and config.keep_best > 0)
            if step % config.log_every == 0 or evaluating or saving:
                last = {
                    **interval.means(),
                    "lr": float(np.asarray(steps.schedule(step - 1))),
                    "too_long": len(source.too_long),
                }
                if evaluating:
                    found = _evaluate(steps.evaluate, state, heldout, is_prm=is_prm)
                    _check_finite(step, found)
                    last |= found
                for write in writers:
                    write(step, last)
                bar.update(step - bar.n)
                bar.set_postfix_str(
                    " ".join(f"{k} {v:.4f}" for k, v in last.items() if k in _SHOWN)
                )
                interval = _Interval(step, config, decoder)
            if saving:
                loss = last.get("eval_loss") if evaluating else None
                checkpoints.save(step, state, stream, loss, source.too_long)
    if source.too_long:
        _log.warning(
            "%d items of the training data hold what doesn't fit a row of %d tokens "
            "(data.row_length) and was left out; the first is %s",
            len(source.too_long),
            config.data.row_length,
            source.name(min(source.too_long)),
        )
    finished = step >= config.steps
    if finished and jax.process_count() == 1:
        with model_folder(root / "model") as folder:
            params = jax.device_get(state.params)
            if trainable.lora is None:
                save_model(
                    folder, decoder, params, tokenizer=codec.tokenizer, contract=codec.contract
                )
            else:
                write_adapter(folder, Adapter(base, trainable.lora, params), codec)
    elif finished:
        # No process holds all the parameters, and one device may have no room for them.
        _log.info("toolprm-export makes a model of %s", root / STEPS_FOLDER / str(step))
    return Result(state, step, finished, {"step": step, **last})


def _stop_trace() -> None:
    with contextlib.suppress(RuntimeError):  # it has been stopped already
        jax.profiler.stop_trace()
