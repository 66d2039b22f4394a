"""Models as Hugging Face directories: config.json, safetensors, tokenizer, contract."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.sharding import NamedSharding, PartitionSpec, Sharding, SingleDeviceSharding
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import save_file
from transformers import PreTrainedTokenizerBase

from ...records import DataError, read_json
from ...tokens import Contract, refuse_code
from ..decoder import DecoderConfig, Params, abstract_params
from .hf_config import config_from_hf, config_to_hf
from .sums import check_sums, write_sums

TOKENIZER_CONFIG_FILE = "tokenizer_config.json"
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
INDEX_FILE = "model.safetensors.index.json"
SHARD_BYTES = 5 * 10**9  # of one file, as transformers writes them

_LAYER = "model.layers"
# Ours -> theirs, per layer; kernels are stored transposed.
_LAYER_NAMES = {
    "input_layernorm/scale": "input_layernorm.weight",
    "post_attention_layernorm/scale": "post_attention_layernorm.weight",
    **{
        f"self_attn/{name}_proj/{ours}": f"self_attn.{name}_proj.{theirs}"
        for name in "qkvo"
        for ours, theirs in (("kernel", "weight"), ("bias", "bias"))
    },
    **{f"self_attn/{name}_norm/scale": f"self_attn.{name}_norm.weight" for name in "qk"},
    **{f"mlp/{name}_proj/kernel": f"mlp.{name}_proj.weight" for name in ("gate", "up", "down")},
}
_OUTER_NAMES = {
    "embed_tokens/embedding": "model.embed_tokens.weight",
    "norm/scale": "model.norm.weight",
    "lm_head/kernel": "lm_head.weight",
}
_STORED_DTYPES = ("BF16", "F16", "F32")
_DERIVED = ".rotary_emb.inv_freq"  # old Llama files repeat what config.json says
_COMPARED_ROWS = 4096  # of two embeddings at a time

Shardings = Callable[[Params], Any]  # abstract parameters -> their shardings


@dataclasses.dataclass(frozen=True)
class _Leaf:
    """Where one of our arrays lies in the files: the tensor of each layer, or one tensor."""

    names: tuple[str, ...]
    shape: tuple[int, ...]  # of one stored tensor
    stacked: bool
    transposed: bool


def _leaves(abstract: Params) -> list[_Leaf]:
    """The stored form of every array, in the order of the flattened parameters."""
    out = []
    for path, leaf in jax.tree_util.tree_flatten_with_path(abstract["params"])[0]:
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        stacked, transposed = name.startswith("layers/"), name.endswith("kernel")
        shape = leaf.shape[1:] if stacked else leaf.shape
        if stacked:
            theirs = _LAYER_NAMES[name.removeprefix("layers/")]
            names = tuple(f"{_LAYER}.{layer}.{theirs}" for layer in range(leaf.shape[0]))
        else:
            names = (_OUTER_NAMES[name],)
        out.append(_Leaf(names, shape[::-1] if transposed else shape, stacked, transposed))
    return out


def stored_shapes(abstract: Params) -> dict[str, tuple[int, ...]]:
    """Name and shape of every tensor that a model's files hold.

    Args:
      abstract: arrays or `jax.ShapeDtypeStruct`.
    """
    return {name: leaf.shape for leaf in _leaves(abstract) for name in leaf.names}


def _stored_tensors(params: Params, dtype: str) -> Iterator[tuple[str, NDArray[Any]]]:
    """Tensors as they are stored, one at a time."""
    for leaf, array in zip(_leaves(params), jax.tree.leaves(params["params"]), strict=True):
        for layer, name in enumerate(leaf.names):
            tensor = array[layer] if leaf.stacked else array
            host = np.asarray(tensor).astype(jnp.dtype(dtype))
            yield name, np.ascontiguousarray(host.T if leaf.transposed else host)


def _save_weights(directory: Path, params: Params, dtype: str, shard_bytes: int) -> None:
    """Writes one file, or several and their index, with one file's tensors in memory."""
    files: list[list[str]] = []
    waiting: dict[str, NDArray[Any]] = {}
    total = 0

    def flush() -> None:
        save_tensors(waiting, directory / f"{len(files)}.part")
        files.append(list(waiting))
        waiting.clear()

    for name, tensor in _stored_tensors(params, dtype):
        if waiting and sum(t.nbytes for t in waiting.values()) + tensor.nbytes > shard_bytes:
            flush()
        waiting[name] = tensor
        total += tensor.nbytes
    flush()
    # Readers look for the single file first, so what an earlier model left must go.
    for old in (*directory.glob("model-*-of-*.safetensors"), directory / INDEX_FILE):
        old.unlink(missing_ok=True)
    (directory / WEIGHTS_FILE).unlink(missing_ok=True)
    if len(files) == 1:
        (directory / "0.part").replace(directory / WEIGHTS_FILE)
        return
    weight_map = {}
    for index, names in enumerate(files):
        file = f"model-{index + 1:05d}-of-{len(files):05d}.safetensors"
        (directory / f"{index}.part").replace(directory / file)
        weight_map |= dict.fromkeys(names, file)
    index_text = json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map}, indent=1)
    (directory / INDEX_FILE).write_text(index_text + "\n")


def save_tensors(tensors: dict[str, NDArray[Any]], path: Path) -> None:
    """Writes a safetensors file.

    Raises:
      DataError: it can't be written.
    """
    try:
        save_file(tensors, path, metadata={"format": "pt"})
    except SafetensorError as error:  # a full disk
        raise DataError(f"{path}: can't be written: {error}") from None
    path.chmod(0o644)  # the library gives rights to the writer alone


def save_model(
    directory: str | Path,
    config: DecoderConfig,
    params: Params,
    dtype: str = "bfloat16",
    tokenizer: PreTrainedTokenizerBase | None = None,
    contract: Contract | None = None,
    shard_bytes: int = SHARD_BYTES,
) -> None:
    """Writes a model as a Hugging Face directory.

    Args:
      directory: made where absent.
      config: shape of the decoder.
      params: its parameters.
      dtype: dtype of the stored weights.
      tokenizer: stored beside them.
      contract: stored beside them.
      shard_bytes: size of a weight file at most, unless one tensor is larger.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    end_of_text = contract.end_of_text if contract else None
    text = json.dumps(config_to_hf(config, dtype, end_of_text), indent=2)
    (directory / CONFIG_FILE).write_text(text + "\n")
    _save_weights(directory, params, dtype, shard_bytes)
    write_sums(directory)
    if tokenizer is not None:
        tokenizer.save_pretrained(str(directory))
        settings = read_json(directory / TOKENIZER_CONFIG_FILE)
        # The name that releases of transformers before 5 know too.
        settings["tokenizer_class"] = "PreTrainedTokenizerFast"
        text = json.dumps(settings, indent=2, ensure_ascii=False)
        (directory / TOKENIZER_CONFIG_FILE).write_text(text + "\n")
    if contract is not None:
        contract.save(directory)


def _weight_files(directory: Path) -> list[Path]:
    if (directory / WEIGHTS_FILE).exists():
        return [directory / WEIGHTS_FILE]
    if not (directory / INDEX_FILE).exists():
        raise DataError(f"{directory / WEIGHTS_FILE}: no such file, and no {INDEX_FILE} either")
    index = read_json(directory / INDEX_FILE)
    weight_map = index.get("weight_map") if isinstance(index, dict) else None
    names = set(weight_map.values()) if isinstance(weight_map, dict) else set()
    if not names or any(not isinstance(n, str) or Path(n).name != n for n in names):
        raise DataError(f"{directory / INDEX_FILE}: expected weight_map, tensor name to file name")
    missing = sorted(name for name in names if not (directory / name).exists())
    if missing:
        raise DataError(f"{directory / INDEX_FILE}: no such files: {', '.join(missing)}")
    return [directory / name for name in sorted(names)]


def open_tensors(paths: Sequence[Path], stack: contextlib.ExitStack) -> dict[str, Any]:
    """Lazy slices of every stored tensor of some files by name; they are mapped, not read.

    Raises:
      DataError: a file is damaged or not that of its `SHA256SUMS`, or two hold the same tensor.
    """
    tensors: dict[str, Any] = {}
    damaged, twice = [], []
    for path in paths:
        try:
            file: Any = stack.enter_context(safe_open(path, framework="np"))
        except SafetensorError as error:
            damaged.append(f"{path.name}: truncated or damaged: {error}")
            continue
        twice += [f"{name} is also in {path.name}" for name in file.keys() if name in tensors]  # noqa: SIM118
        tensors |= {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118
    if damaged or twice:
        raise DataError(f"{paths[0].parent}: {'; '.join(damaged + twice)}")
    for path in paths:
        check_sums(path)
    return tensors


def _check_tensors(
    tensors: Mapping[str, Any], wanted: dict[str, tuple[int, ...]], *, tied: bool
) -> list[str]:
    """What is missing, extra, of another shape, or of a dtype that is not read."""
    problems = []
    for name, shape in wanted.items():
        if name not in tensors:
            problems.append(f"{name} is missing, expected {shape}")
        elif tuple(tensors[name].get_shape()) != shape:
            found = tuple(tensors[name].get_shape())
            problems.append(f"{name} is of shape {found}, expected {shape}")
        elif tensors[name].get_dtype() not in _STORED_DTYPES:
            expected = ", ".join(_STORED_DTYPES)
            problems.append(
                f"{name} is stored as {tensors[name].get_dtype()}, expected one of {expected}"
            )
    output, embedding = _OUTER_NAMES["lm_head/kernel"], _OUTER_NAMES["embed_tokens/embedding"]
    extra = sorted(name for name in tensors.keys() - wanted if not name.endswith(_DERIVED))
    if tied and output in extra:
        extra.remove(output)
        if embedding in tensors and not _equal(tensors[output], tensors[embedding]):
            problems.append(f"{output} differs from {embedding}, but tie_word_embeddings is true")
    return problems + [f"{name} is not part of the architecture" for name in extra]


def _equal(a: Any, b: Any) -> bool:
    if a.get_shape() != b.get_shape() or a.get_dtype() != b.get_dtype():
        return False
    rows = a.get_shape()[0]
    starts = range(0, rows, _COMPARED_ROWS)
    parts = (slice(start, min(start + _COMPARED_ROWS, rows)) for start in starts)
    return all(np.array_equal(a[part], b[part]) for part in parts)


def _stored_sharding(sharding: Sharding, leaf: _Leaf) -> Sharding:
    """How one stored tensor lies, so that placing it in its array moves nothing."""
    if not isinstance(sharding, NamedSharding):
        return sharding
    rank = len(leaf.shape) + leaf.stacked
    axes = [*sharding.spec, *[None] * (rank - len(sharding.spec))][leaf.stacked :]
    return NamedSharding(sharding.mesh, PartitionSpec(*(axes[::-1] if leaf.transposed else axes)))


@partial(jax.jit, static_argnames=("shape", "dtype", "sharding"))
def _zeros(shape: tuple[int, ...], dtype: str, sharding: Sharding) -> Array:
    return jax.lax.with_sharding_constraint(jnp.zeros(shape, dtype), sharding)


@partial(jax.jit, static_argnames=("transposed", "sharding"), donate_argnames="layers")
def _place(
    layers: Array, tensor: Array, layer: int, *, transposed: bool, sharding: Sharding
) -> Array:
    tensor = tensor.T if transposed else tensor
    placed = jax.lax.dynamic_update_index_in_dim(layers, tensor.astype(layers.dtype), layer, 0)
    return jax.lax.with_sharding_constraint(placed, sharding)


@partial(jax.jit, static_argnames=("transposed", "dtype", "sharding"))
def _convert(tensor: Array, *, transposed: bool, dtype: str, sharding: Sharding) -> Array:
    tensor = (tensor.T if transposed else tensor).astype(dtype)
    return jax.lax.with_sharding_constraint(tensor, sharding)


def _read(tensors: Mapping[str, Any], leaf: _Leaf, dtype: str, sharding: Sharding) -> Array:
    """One of our arrays; only the parts that this process holds are read, a tensor at a time."""
    stored = _stored_sharding(sharding, leaf)

    def load(name: str) -> Array:
        return jax.make_array_from_callback(leaf.shape, stored, lambda index: tensors[name][index])

    if not leaf.stacked:
        tensor = load(leaf.names[0])
        return _convert(tensor, transposed=leaf.transposed, dtype=dtype, sharding=sharding)
    shape = leaf.shape[::-1] if leaf.transposed else leaf.shape
    layers = _zeros((len(leaf.names), *shape), dtype, sharding)
    for layer, name in enumerate(leaf.names):
        layers = _place(layers, load(name), layer, transposed=leaf.transposed, sharding=sharding)
        # Without this, tensors pile up on the host faster than devices take them.
        jax.block_until_ready(layers)
    return layers


def load_model(
    directory: str | Path, dtype: str = "float32", shardings: Shardings | None = None
) -> tuple[DecoderConfig, Params]:
    """Reads a model from a Hugging Face directory, tensor by tensor into device arrays.

    Args:
      directory: holds `config.json` and `model.safetensors` or its sharded index; weights are
        bfloat16, float16 or float32.
      dtype: dtype of the returned parameters and of the computation.
      shardings: maps the abstract parameters to a sharding each; all on the first local device
        if None.

    Returns:
      The shape of the decoder and its parameters.

    Raises:
      DataError: a file is missing or damaged, the architecture is not supported, or tensors are
        missing, extra, or of another shape or dtype; all of them are listed.
    """
    directory = Path(directory)
    config_file = directory / CONFIG_FILE
    data = read_json(config_file)
    refuse_code(config_file, data)
    config = config_from_hf(data, config_file)
    with contextlib.ExitStack() as stack:
        tensors = open_tensors(_weight_files(directory), stack)
        return place_tensors(directory, config, tensors, dtype, shardings)


def place_tensors(
    source: Path,
    config: DecoderConfig,
    tensors: Mapping[str, Any],
    dtype: str,
    shardings: Shardings | None,
) -> tuple[DecoderConfig, Params]:
    """Stored tensors to device arrays, one at a time.

    Args:
      source: where they come from, for messages.
      config: shape of the decoder.
      tensors: by Hugging Face name, with the face of a safetensors slice.
      dtype: of the returned parameters and of the computation.
      shardings: as for `load_model`.

    Raises:
      DataError: tensors are missing, extra, or of another shape or dtype; all of them are listed.
    """
    config = dataclasses.replace(config, dtype=dtype)
    abstract = abstract_params(config)
    leaves = _leaves(abstract)
    if shardings is None:
        first = SingleDeviceSharding(jax.local_devices()[0])
        placement = [first] * len(leaves)
    else:
        placement = jax.tree.leaves(shardings(abstract))
    problems = _check_tensors(tensors, stored_shapes(abstract), tied=config.tie_embeddings)
    if problems:
        raise DataError(f"{source}: {'; '.join(problems)}")
    arrays = [
        _read(tensors, leaf, dtype, sharding)
        for leaf, sharding in zip(leaves, placement, strict=True)
    ]
    return config, jax.tree.unflatten(jax.tree.structure(abstract), arrays)
