"""Saving and restoring a training run: state, data iterator, contract and config (Orbax v1)."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import tempfile
import threading
from collections.abc import Collection, Iterator, Sequence
from pathlib import Path
from typing import Any, cast

import grain
import jax
import orbax.checkpoint.experimental.v1 as ocp
from etils import epath
from transformers import PreTrainedTokenizerBase

from toolprm_jax.model import DecoderConfig, Lora, Params
from toolprm_jax.model.files import (
    RUN_FILE,
    CheckpointError,
    decoder_of_run,
    newest_valid,
    read_run,
    write_manifest,
)
from toolprm_jax.records import atomic_folder
from toolprm_jax.tokens import Contract

from .step import TrainState

_log = logging.getLogger(__name__)


@contextlib.contextmanager
def local_folder(directory: epath.Path) -> Iterator[Path]:
    """A local folder whose files are in `directory`, which may lie in a bucket, afterwards."""
    with tempfile.TemporaryDirectory() as name:
        yield Path(name)
        directory.mkdir(parents=True, exist_ok=True)
        for path in Path(name).iterdir():
            epath.Path(path).copy(directory / path.name, overwrite=True)


@contextlib.contextmanager
def model_folder(directory: epath.Path) -> Iterator[Path]:
    """A local folder to fill; it takes the place of `directory`, whole where that is no bucket."""
    if "://" in str(directory):
        with local_folder(directory) as folder:
            yield folder
    else:
        with atomic_folder(directory, replace=True) as folder:
            yield folder


@dataclasses.dataclass(frozen=True)
class RunFiles:
    """What every checkpoint of a run carries beside its arrays."""

    decoder: DecoderConfig
    config: dict[str, Any]  # resolved, JSON
    contract: Contract
    tokenizer: PreTrainedTokenizerBase
    lora: Lora | None = None  # of an adapter
    base: str = ""  # the name of its base

    def write(self, directory: epath.Path, step: int, too_long: Sequence[int] = ()) -> None:
        """Writes them into a committed checkpoint, with the items so far that fit no row."""
        run = {
            "step": step,
            "too_long": list(too_long),
            "decoder": dataclasses.asdict(self.decoder),
            "adapter": self.lora and {"base": self.base, "lora": dataclasses.asdict(self.lora)},
            "config": self.config,
        }
        with local_folder(directory) as folder:
            (folder / RUN_FILE).write_text(json.dumps(run, indent=1) + "\n")
            self.contract.save(folder)
            self.tokenizer.save_pretrained(str(folder))

    def check(self, directory: epath.PathLike) -> None:
        """Compares with what a checkpoint carries; a config that differs is named in a warning.

        Raises:
          CheckpointError: its decoder has another shape.
        """
        saved = read_run(directory)
        if (saved.get("adapter") is None) != (self.lora is None):
            raise CheckpointError(f"{directory}: an adapter and a whole model can't be exchanged")
        decoder, here = decoder_of_run(directory), self.decoder
        for name in (field.name for field in dataclasses.fields(here)):
            shape = name not in ("dtype", "remat")
            if shape and getattr(decoder, name) != getattr(here, name):
                raise CheckpointError(
                    f"{directory}: the decoder's {name} is {getattr(decoder, name)} there "
                    f"and {getattr(here, name)} in the config"
                )
        there, now = _flat(saved["config"]), _flat(self.config)
        for name in sorted(there.keys() | now.keys()):
            if there.get(name) != now.get(name):
                _log.warning(
                    "resuming with another %s: %r, was %r", name, now.get(name), there.get(name)
                )


def _flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    out: dict[str, Any] = {}
    for name, value in config.items():
        out |= (
            _flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value}
        )
    return out


class Checkpoints:
    """The checkpoints of one run, one directory per step, saved in the background.

    A checkpoint counts once its manifest is written, which happens after Orbax has committed it.

    Args:
      directory: where they lie.
      files: what each carries beside its arrays.
      keep: how many of the newest are kept.
      keep_best: how many of the lowest held-out loss are kept beside them.
    """

    def __init__(
        self, directory: epath.PathLike, files: RunFiles, keep: int, keep_best: int = 0
    ) -> None:
        self._directory = epath.Path(directory)
        self._files = files
        policies = ocp.training.preservation_policies
        best = policies.BestN(
            # Sorted worst first, for the last ones are kept.
            get_metric_fn=lambda metrics: -metrics["eval_loss"],
            n=keep_best,
            keep_checkpoints_without_metrics=False,
        )
        policy: Any = policies.AnyPreservationPolicy([policies.LatestN(keep), best])
        self._manager = ocp.training.Checkpointer(
            self._directory, preservation_policy=policy, cleanup_tmp_directories=True
        )
        self._committing: threading.Thread | None = None
        self._failure: BaseException | None = None

    def save(
        self,
        step: int,
        state: TrainState,
        data: grain.DatasetIterator,
        eval_loss: float | None = None,
        too_long: Collection[int] = (),
    ) -> None:
        """Starts saving; waits for the checkpoint before to be whole.

        Args:
          step: steps taken.
          state: the state after them; it may be donated as soon as this returns.
          data: the iterator after as many batches.
          eval_loss: on held-out data, where it was measured at this step.
          too_long: the items so far that fit no row.
        """
        self.wait()
        left_out = sorted(too_long)
        response = self._manager.save_checkpointables_async(
            step,
            {
                "params": state.params,
                "rest": {"step": state.step, "opt_state": state.opt_state},
                "data": data,
            },
            force=True,
            overwrite=True,
            metrics=None if eval_loss is None else {"eval_loss": eval_loss},
        )

        def commit() -> None:
            try:
                assert response is not None
                response.result()
                if jax.process_index() == 0:
                    folder = self._directory / str(step)
                    self._files.write(folder, step, left_out)
                    write_manifest(folder)
            except BaseException as error:
                self._failure = error

        self._committing = threading.Thread(target=commit, name=f"checkpoint-{step}")
        self._committing.start()

    def wait(self) -> None:
        """Returns when the checkpoint under way is whole; raises what kept it from that."""
        if self._committing is not None:
            self._committing.join()
            self._committing = None
        if self._failure is not None:
            raise self._failure

    def restore(
        self, abstract: TrainState, data: grain.DatasetIterator, frozen: Params = ()
    ) -> tuple[int, TrainState] | None:
        """The newest checkpoint that is whole; damaged ones are skipped with a warning.

        Args:
          abstract: `jax.ShapeDtypeStruct` with the shardings to restore to.
          data: an iterator over the same data; it is set to where it was.
          frozen: the base of an adapter, which checkpoints don't hold.

        Returns:
          Steps taken and the state, or None where there is no checkpoint.

        Raises:
          ContractError: the checkpoint was trained under another contract.
          CheckpointError: its decoder has another shape.
        """
        folder = newest_valid(self._directory)
        if folder is None:
            return None
        # It only joins and reads, which paths in buckets do too.
        Contract.load(cast(Path, folder)).check(self._files.contract)
        self._files.check(folder)
        step = int(folder.name)
        restored = self._manager.load_checkpointables(
            step,
            {
                "params": abstract.params,
                "rest": {"step": abstract.step, "opt_state": abstract.opt_state},
                "data": data,
            },
        )
        rest = restored["rest"]
        return step, TrainState(rest["step"], restored["params"], rest["opt_state"], frozen)

    def close(self) -> None:
        """Finishes what is under way."""
        with contextlib.closing(self._manager):
            self.wait()
