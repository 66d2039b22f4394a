"""Training checkpoints on disk: their manifest, and restoring only the parameters."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import re
from pathlib import Path
from typing import Any, cast

import jax
import orbax.checkpoint.experimental.v1 as ocp
from etils import epath

from ...records import DataError, read_json
from ..adapters import Adapter, Lora
from ..decoder import DecoderConfig, Params, abstract_params, checked_shape
from .hf import Shardings

MANIFEST_FILE = "toolprm_manifest.json"
STEPS_FOLDER = "checkpoints"  # of a run's workdir
RUN_FILE = "toolprm_run.json"  # decoder and resolved config of the run
_CHUNK = 1 << 22

_log = logging.getLogger(__name__)


def absolute_path(path: epath.PathLike) -> epath.Path:
    """A path as Orbax wants it: a bucket's (`gs://`) stays as it is.

    Raises:
      DataError: the package that reads buckets is not installed.
    """
    text = os.fspath(path)
    if text.startswith("gs://") and importlib.util.find_spec("gcsfs") is None:
        raise DataError(f"{text}: buckets need gcsfs: pip install 'toolprm-jax[gcs]'")
    return epath.Path(text if "://" in text else os.path.abspath(text))


class CheckpointError(DataError):
    """A checkpoint that is missing, half-written or damaged."""


def _files(directory: epath.Path) -> dict[str, epath.Path]:
    found: dict[str, epath.Path] = {}
    folders = [directory]
    while folders:
        for path in folders.pop().iterdir():
            if path.is_dir():
                folders.append(path)
            elif path.name != MANIFEST_FILE:
                found[path.relative_to(directory).as_posix()] = path
    return found


def _sha256(path: epath.Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            digest.update(block)
    return digest.hexdigest()


def write_manifest(directory: epath.PathLike) -> None:
    """Writes the SHA-256 of every file of a committed checkpoint beside them.

    Its presence says that the checkpoint is whole, so it is written last and at once.
    """
    folder = epath.Path(directory)
    sums = {name: _sha256(path) for name, path in sorted(_files(folder).items())}
    draft = folder.parent / f".{folder.name}.manifest"
    draft.write_text(json.dumps(sums, indent=1) + "\n")
    draft.replace(folder / MANIFEST_FILE)


def verify_manifest(directory: epath.PathLike) -> None:
    """Compares every file of a checkpoint with its manifest.

    Raises:
      CheckpointError: no manifest (half-written), or a file is missing, extra or altered.
    """
    folder = epath.Path(directory)
    manifest = folder / MANIFEST_FILE
    if not manifest.exists():
        raise CheckpointError(f"{folder}: half-written: it has no {MANIFEST_FILE}")
    try:
        sums = read_json(cast(Path, manifest))
    except DataError as error:
        raise CheckpointError(f"{error}: damaged") from None
    files = _files(folder)
    if not isinstance(sums, dict) or sums.keys() != files.keys():
        raise CheckpointError(f"{folder}: damaged: its files are not those of its manifest")
    for name, path in files.items():
        if _sha256(path) != sums[name]:
            raise CheckpointError(f"{path}: damaged: its SHA-256 is not the manifest's")


def newest_valid(root: epath.PathLike) -> epath.Path | None:
    """The newest checkpoint below `root` that is whole; each one that is not is named in a warning.

    Args:
      root: the directory whose subdirectories are named by their steps.

    Returns:
      Its directory, or None where there is none.
    """
    folder = epath.Path(root)
    if not folder.exists():
        return None
    # Of ASCII: `²` is a digit too, and no number.
    steps = [path for path in folder.iterdir() if re.fullmatch(r"[0-9]{1,18}", path.name)]
    for path in sorted(steps, key=lambda path: int(path.name), reverse=True):
        try:
            verify_manifest(path)
        except CheckpointError as error:
            _log.warning("checkpoint skipped: %s", error)
        else:
            return path
    return None


def read_run(directory: epath.PathLike) -> dict[str, Any]:
    """What `RUN_FILE` of a checkpoint says: `step`, `decoder` and the resolved `config`.

    Raises:
      CheckpointError: there is none, or it is damaged.
    """
    path = epath.Path(directory) / RUN_FILE
    try:
        # It only reads, which paths in buckets do too.
        run = read_json(cast(Path, path))
    except DataError as error:
        hint = "damaged" if path.exists() else "not a training checkpoint"
        raise CheckpointError(f"{error}; {hint}") from None
    wanted = {"decoder": dict, "config": dict, "step": int, "too_long": list}
    if not isinstance(run, dict) or not all(
        isinstance(run.get(name), kind) for name, kind in wanted.items()
    ):
        raise CheckpointError(f"{path}: damaged: expected an object with {', '.join(wanted)}")
    return run


def decoder_of_run(directory: epath.PathLike) -> DecoderConfig:
    """The shape of a checkpoint's decoder.

    Raises:
      DataError: there is none, or it is damaged.
    """
    path = epath.Path(directory) / RUN_FILE
    try:
        return checked_shape(DecoderConfig(**read_run(directory)["decoder"]), path)
    except TypeError as error:
        raise CheckpointError(f"{path}: damaged: decoder: {error}") from None


def whole_checkpoint(directory: epath.PathLike) -> epath.Path:
    """One step's directory, checked against its manifest.

    Args:
      directory: it, or the one that holds the steps, or the run's workdir (then the newest
        whole one).

    Raises:
      CheckpointError: no whole checkpoint is there.
    """
    folder = absolute_path(directory)
    if (folder / RUN_FILE).exists():
        verify_manifest(folder)
        return folder
    steps = folder / STEPS_FOLDER
    newest = newest_valid(steps if steps.exists() else folder)
    if newest is None:
        raise CheckpointError(f"{folder}: no whole checkpoint")
    return newest


def read_params(
    directory: epath.PathLike, shardings: Shardings | None = None
) -> tuple[DecoderConfig, Params]:
    """Only the parameters in one step's directory, which must be whole; see `restore_params`."""
    folder = epath.Path(directory)
    config, params = decoder_of_run(folder), _read_arrays(folder, shardings)
    shapes = [
        jax.tree.map(lambda leaf: leaf.shape, tree) for tree in (params, abstract_params(config))
    ]
    if shapes[0] != shapes[1]:
        raise CheckpointError(f"{folder}: damaged: its parameters are not those of its decoder")
    return config, params


def _read_arrays(folder: epath.Path, shardings: Shardings | None) -> Params:
    try:
        saved: Any = ocp.metadata(folder, "params").metadata
    except (KeyError, TypeError, ValueError) as error:
        raise CheckpointError(f"{folder}: damaged: {error}") from None
    first = jax.sharding.SingleDeviceSharding(jax.local_devices()[0])
    placement = shardings(saved) if shardings else jax.tree.map(lambda _: first, saved)
    abstract = jax.tree.map(
        lambda leaf, sharding: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding),
        saved,
        placement,
    )
    return ocp.load_checkpointables(folder, {"params": abstract})["params"]


def read_adapter_checkpoint(directory: epath.PathLike) -> Adapter | None:
    """The adapter in one step's directory, which must be whole; None where it holds a model."""
    folder = epath.Path(directory)
    found = read_run(folder).get("adapter")
    if found is None:
        return None
    try:
        lora: dict[str, Any] = {
            name: tuple(v) if isinstance(v, list) else v for name, v in found["lora"].items()
        }
        base, made = str(found["base"]), Lora(**lora)
    except (AttributeError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / RUN_FILE}: damaged: adapter: {error}") from None
    return Adapter(base, made, _read_arrays(folder, None))


def restore_params(
    directory: epath.PathLike, shardings: Shardings | None = None
) -> tuple[DecoderConfig, Params]:
    """Only the parameters of a training checkpoint, whatever devices wrote it.

    Args:
      directory: one step's directory, or the one that holds them (then the newest whole one).
      shardings: maps the parameters to a sharding each; all on the first local device if None.

    Returns:
      The shape of the decoder and its float32 parameters.

    Raises:
      CheckpointError: no whole checkpoint is there.
    """
    return read_params(whole_checkpoint(directory), shardings)
