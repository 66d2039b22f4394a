"""LoRA adapters: the training-time model (qwix), PEFT's files, and merging into the base."""

from __future__ import annotations

import contextlib
import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from ..records import DataError, read_json
from .decoder import Decoder, DecoderConfig, Params, abstract_params, init_params
from .files.hf import CONFIG_FILE, open_tensors, save_tensors
from .files.sums import write_sums

ADAPTER_CONFIG_FILE = "adapter_config.json"
ADAPTER_WEIGHTS_FILE = "adapter_model.safetensors"
_MLP = ("gate_proj", "up_proj", "down_proj")
TARGETS: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", *_MLP)
ROWS = "token_rows"  # beside the LoRA leaves: rows that take the place of the base's embedding

_MOST_RANK = 1 << 16
_MOST_ALPHA = 1e30
_MODULES = {name: "mlp" if name in _MLP else "self_attn" for name in TARGETS}
_ROWS_NAME = "base_model.model.model.embed_tokens.token_adapter.trainable_tokens_delta"
_LAYER_NAME = "base_model.model.model.layers.{}.{}.{}.lora_{}.weight"
# PEFT's initialisation: uniform up to 1 / sqrt(fan in).
_A_INIT = jax.nn.initializers.variance_scaling(1 / 3, "fan_in", "uniform")


@dataclasses.dataclass(frozen=True)
class Lora:
    """Which low-rank updates an adapter has; hashable.

    Attributes:
      rank: r, columns of A and rows of B.
      alpha: the update is `alpha / rank` times A B.
      targets: names of the linear layers that have one, of `TARGETS`.
      token_ids: tokens whose embedding rows the adapter replaces: the markers of a reward model.

    Source: arXiv:2106.09685.
    """

    rank: int
    alpha: float
    targets: tuple[str, ...] = TARGETS
    token_ids: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        """Checks the values; targets in the order of `TARGETS`."""
        unknown = sorted(set(self.targets) - set(TARGETS))
        if not 1 <= self.rank <= _MOST_RANK or not self.targets or unknown:
            raise DataError(
                f"lora: expected a rank from 1 to {_MOST_RANK} and targets among "
                f"{', '.join(TARGETS)}; "
                f"found rank {self.rank}, targets {', '.join(unknown) or 'known'}"
            )
        object.__setattr__(self, "targets", tuple(t for t in TARGETS if t in self.targets))

    @property
    def scale(self) -> float:
        """What A B is multiplied by."""
        return self.alpha / self.rank


class Adapter(NamedTuple):
    """A trained adapter, and the base that it belongs to."""

    base: str  # a name that `load` takes, or the model's name on the hub
    lora: Lora
    params: Params  # {"params": {"layers": ...}} and, with token_ids, ROWS: [K, hidden_size]


def with_lora(config: DecoderConfig, lora: Lora) -> Decoder:
    """The decoder with adapters in its forward pass, for training.

    It takes the parameters that `with_adapter` puts together, where `kernel_lora_a` `[in, r]` and
    `kernel_lora_b` `[r, out]` stand beside each `kernel`.
    """
    module_path = f".*({'|'.join(lora.targets)})"
    import qwix  # with flax.nnx a second of imports that only training needs

    provider = qwix.LoraProvider(
        module_path=module_path, rank=lora.rank, alpha=lora.alpha, lora_a_initializer=_A_INIT
    )
    model: Any = qwix.apply_lora_to_model(
        Decoder(config), provider, methods=("__call__", "prefill", "extend")
    )
    return model


def init_adapter(config: DecoderConfig, lora: Lora, key: Array, base: Params) -> Params:
    """A fresh adapter, float32: A uniform, B zero, rows as in the base.

    Args:
      config: shape of the decoder.
      lora: which updates.
      key: a PRNG key, consumed.
      base: parameters of the base.
    """
    plain = dataclasses.replace(config, dtype="float32")
    tree = init_params(plain, key, with_lora(plain, lora))["params"]["layers"]
    layers: dict[str, Any] = {}
    for target in lora.targets:
        leaves = tree[_MODULES[target]][target]
        kept = {name: leaves[name] for name in ("kernel_lora_a", "kernel_lora_b")}
        layers.setdefault(_MODULES[target], {})[target] = kept
    return {"params": {"layers": layers}, **fresh_rows(lora, base)}


def fresh_rows(lora: Lora, base: Params) -> Params:
    """The part of an adapter beside its LoRA leaves: rows as in the base, if it has any."""
    if not lora.token_ids:
        return {}
    embedding = base["params"]["embed_tokens"]["embedding"]
    return {ROWS: embedding[jnp.asarray(lora.token_ids)].astype(jnp.float32)}


def _joined(base: Mapping[str, Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for name, value in extra.items():
        out[name] = _joined(out[name], value) if name in out else value
    return out


def _with_rows(outer: dict[str, Any], adapter: Params, lora: Lora) -> dict[str, Any]:
    if ROWS not in adapter:
        return outer
    embedding = outer["embed_tokens"]["embedding"]
    replaced = _replaced(embedding, np.asarray(lora.token_ids), adapter[ROWS])
    return {**outer, "embed_tokens": {"embedding": replaced}}


@jax.jit
def _replaced(embedding: Array, ids: Array, rows: Array) -> Array:
    return embedding.at[ids].set(rows.astype(embedding.dtype))


def with_adapter(base: Params, adapter: Params, lora: Lora, dtype: str) -> Params:
    """Parameters for the decoder of `with_lora`; differentiable in the adapter.

    Args:
      base: parameters of the base, left as they are.
      adapter: from `init_adapter`.
      lora: its shape.
      dtype: of the computation, which the adapter's leaves are cast to.
    """
    adapter = jax.tree.map(lambda x: x.astype(dtype), adapter)
    outer = _joined(base["params"], adapter["params"])
    return {"params": _with_rows(outer, adapter, lora)}


def merge(base: Params, adapter: Params, lora: Lora) -> Params:
    """The plain decoder's parameters: `W + alpha / rank * A B`, rows replaced.

    Sums are taken in float32 and have the base's dtype.
    """
    outer = base["params"]
    layers = {name: dict(module) for name, module in outer["layers"].items()}
    for module, targets in adapter["params"]["layers"].items():
        for target, leaves in targets.items():
            kernel = layers[module][target]["kernel"]
            a, b = leaves["kernel_lora_a"], leaves["kernel_lora_b"]
            merged = _updated(kernel, a, b, lora.scale)
            layers[module][target] = {**layers[module][target], "kernel": merged}
    return {"params": _with_rows({**outer, "layers": layers}, adapter, lora)}


@jax.jit
def _updated(kernel: Array, a: Array, b: Array, scale: float) -> Array:
    update = jnp.matmul(a.astype(jnp.float32), b.astype(jnp.float32)) * scale
    return (kernel.astype(jnp.float32) + update).astype(kernel.dtype)


def save_adapter(directory: str | Path, adapter: Adapter, dtype: str = "bfloat16") -> None:
    """Writes an adapter in PEFT's layout.

    Args:
      directory: made where absent.
      adapter: with its base's name.
      dtype: of the stored tensors.
    """
    directory = Path(directory)
    directory.mkdir(parents=True, exist_ok=True)
    base, lora, params = adapter
    text = {
        "peft_type": "LORA",
        "task_type": "CAUSAL_LM",
        "base_model_name_or_path": base,
        "r": lora.rank,
        "lora_alpha": lora.alpha,
        "lora_dropout": 0.0,
        "target_modules": list(lora.targets),
        "trainable_token_indices": list(lora.token_ids) or None,
        "bias": "none",
        "fan_in_fan_out": False,
        "inference_mode": True,
        "use_dora": False,
        "use_rslora": False,
    }
    (directory / ADAPTER_CONFIG_FILE).write_text(json.dumps(text, indent=2) + "\n")
    tensors = {}
    for module, targets in params["params"]["layers"].items():
        for target, leaves in targets.items():
            for letter in "ab":
                for layer, array in enumerate(np.asarray(leaves[f"kernel_lora_{letter}"])):
                    name = _LAYER_NAME.format(layer, module, target, letter.upper())
                    tensors[name] = np.ascontiguousarray(array.T.astype(jnp.dtype(dtype)))
    if ROWS in params:
        tensors[_ROWS_NAME] = np.asarray(params[ROWS]).astype(jnp.dtype(dtype))
    save_tensors(tensors, directory / ADAPTER_WEIGHTS_FILE)
    write_sums(directory)


# Settings of PEFT that change the result and that are not computed here, with their plain values.
_PLAIN = {
    "bias": ("none",),
    "fan_in_fan_out": (False,),
    "use_dora": (False,),
    "use_rslora": (False,),
    "use_qalora": (False,),
    "rank_pattern": ({},),
    "alpha_pattern": ({},),
    "modules_to_save": (),
    "layers_to_transform": (),
    "layer_replication": (),
    "alora_invocation_tokens": (),
    "target_parameters": (),
}


# Ways of PEFT to begin that leave the base as it is; the others (PiSSA, OLoRA, CorDA, LoftQ,
# LoRA-GA) take from it what the adapter starts with, so that the base alone is another model.
_PLAIN_STARTS = (None, True, False, "gaussian", "eva", "orthogonal")


def _lora_of(path: Path) -> tuple[str, Lora]:
    """What `adapter_config.json` says."""
    data = read_json(path)
    if not isinstance(data, dict) or data.get("peft_type") != "LORA":
        raise DataError(f'{path}: expected an object with "peft_type": "LORA"')
    unset: tuple[Any, ...] = (None, [], {})
    wrong = [
        f"{name} is {data[name]!r}"
        for name, plain in _PLAIN.items()
        if data.get(name) not in unset and data[name] not in plain
    ]
    start = data.get("init_lora_weights")
    if start not in _PLAIN_STARTS:
        wrong.append(f"init_lora_weights is {start!r}, which changes the base")
    if wrong:
        raise DataError(f"{path}: not supported: {'; '.join(wrong)}")
    base: Any = data.get("base_model_name_or_path")
    rank: Any = data.get("r")
    alpha: Any = data.get("lora_alpha")
    targets, ids = data.get("target_modules"), data.get("trainable_token_indices") or []
    if isinstance(ids, dict):
        ids = ids.get("embed_tokens", [])
    if (
        not isinstance(base, str)
        or not isinstance(ids, list)
        or type(rank) is not int
        or type(alpha) not in (int, float)
        or not abs(alpha) < _MOST_ALPHA
        or not isinstance(targets, list)
        or not all(isinstance(target, str) for target in targets)
        or not all(type(i) is int and i >= 0 for i in ids)
    ):
        raise DataError(
            f"{path}: expected base_model_name_or_path, r, lora_alpha, target_modules as a list "
            "and trainable_token_indices, if any, as token ids"
        )
    try:
        return base, Lora(rank, float(alpha), tuple(targets), tuple(ids))
    except DataError as error:
        raise DataError(f"{path}: {error}") from None


def read_adapter(directory: str | Path, config: DecoderConfig | None = None) -> Adapter:
    """Reads an adapter in PEFT's layout, made here or elsewhere.

    Args:
      directory: holds `adapter_config.json` and `adapter_model.safetensors`.
      config: the base's shape, which the tensors must fit; not checked where None.

    Returns:
      The adapter, float32, on the host.

    Raises:
      DataError: a file is missing or damaged, the adapter has settings that are not computed here,
        or tensors are missing, extra or of another shape.
    """
    directory = Path(directory)
    base, lora = _lora_of(directory / ADAPTER_CONFIG_FILE)
    path = directory / ADAPTER_WEIGHTS_FILE
    if not path.is_file():
        raise DataError(f"{path}: no such file")
    with contextlib.ExitStack() as stack:
        slices = open_tensors([path], stack)
        tensors = {name: np.asarray(part[:], np.float32) for name, part in slices.items()}
    layers: dict[str, Any] = {}
    depth = 0
    while any(f".layers.{depth}." in name for name in tensors):
        depth += 1
    for target in lora.targets:
        leaves = {}
        for letter in "ab":
            names = [
                _LAYER_NAME.format(i, _MODULES[target], target, letter.upper())
                for i in range(depth)
            ]
            missing = [name for name in names if name not in tensors]
            if missing or not names:
                raise DataError(f"{path}: {missing[0] if missing else target} is missing")
            shapes = {tensors[name].shape for name in names}
            if len(shapes) > 1:
                raise DataError(f"{path}: {names[0]} and those of other layers differ in shape")
            leaves[f"kernel_lora_{letter}"] = np.stack([tensors.pop(n).T for n in names])
        layers.setdefault(_MODULES[target], {})[target] = leaves
    params: Params = {"params": {"layers": layers}}
    if lora.token_ids:
        if _ROWS_NAME not in tensors:
            raise DataError(f"{path}: {_ROWS_NAME} is missing")
        params[ROWS] = tensors.pop(_ROWS_NAME)
    if tensors:
        raise DataError(f"{path}: {min(tensors)} is not part of the adapter")
    if config is not None:
        check_adapter(directory, abstract_params(config), lora, params)
    return Adapter(base, lora, params)


def check_adapter(source: Path, base: Params, lora: Lora, params: Params) -> None:
    """Compares an adapter with the shape of its base.

    Args:
      source: where the adapter comes from, for messages.
      base: its parameters, or their shapes.
      lora: which updates it has.
      params: the adapter's parameters.

    Raises:
      DataError: an array has another shape than the base needs, or a token is none of the base.
    """
    outer = base["params"]
    rows, width = outer["embed_tokens"]["embedding"].shape
    if max(lora.token_ids, default=0) >= rows:
        raise DataError(
            f"{source}: it has a row for token {max(lora.token_ids)}, the base {rows} tokens"
        )
    expected: dict[str, tuple[int, ...]] = {}
    for target in lora.targets:
        module = _MODULES[target]
        depth, fan_in, fan_out = outer["layers"][module][target]["kernel"].shape
        name = f"['params']['layers']['{module}']['{target}']['kernel_lora_"
        expected[f"{name}a']"] = (depth, fan_in, lora.rank)
        expected[f"{name}b']"] = (depth, lora.rank, fan_out)
    if lora.token_ids:
        expected[f"['{ROWS}']"] = (len(lora.token_ids), width)
    found = {jax.tree_util.keystr(p): x.shape for p, x in jax.tree.leaves_with_path(params)}
    for name in sorted(expected.keys() | found.keys()):
        if found.get(name) != expected.get(name):
            raise DataError(
                f"{source}: {name} is of shape {found.get(name)}, the base needs "
                f"{expected.get(name)}"
            )


def is_adapter(directory: Path) -> bool:
    """Whether a directory holds an adapter and not a whole model."""
    return (directory / ADAPTER_CONFIG_FILE).is_file() and not (directory / CONFIG_FILE).is_file()
