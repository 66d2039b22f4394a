"""What the values of a config may be, checked before anything is read."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, get_args

from ml_collections import ConfigDict

from toolprm_jax.records import DataError
from toolprm_jax.tokens import Granularity, Target

Config = Any  # an ml_collections.ConfigDict, whose attributes have no static types

_MOST = 2**31 - 1
_ROWS, _TOKENS = 1 << 16, 1 << 20  # XLA ends the process where the size of an array overflows
# Least and most, both allowed.
_INTEGERS: Mapping[str, tuple[int, int]] = {
    "seed": (0, _MOST),
    "steps": (1, _MOST),
    "accumulation": (1, _ROWS),
    "log_every": (1, _MOST),
    "eval_every": (0, _MOST),
    "checkpoint_every": (1, _MOST),
    "keep": (1, _MOST),
    "keep_best": (0, _MOST),
    "lora.rank": (0, _ROWS),
    "lora.first_layer": (0, _MOST),
    "mesh.data": (-1, _MOST),
    "mesh.fsdp": (-1, _MOST),
    "mesh.tensor": (-1, _MOST),
    "optimizer.warmup_steps": (0, _MOST),
    "data.group_size": (1, _MOST),
    "data.row_length": (2, _TOKENS),
    "data.rows_per_batch": (1, _ROWS),
    "data.epochs": (0, _MOST),
    "data.eval_items": (0, _MOST),
}
_BELOW_1 = math.nextafter(1.0, 0.0)
_NUMBERS: Mapping[str, tuple[float, float]] = {
    "lora.alpha": (0.0, 1e30),
    "optimizer.learning_rate": (0.0, 1e38),
    "optimizer.end_fraction": (0.0, 1.0),
    "optimizer.weight_decay": (0.0, 1e30),
    "optimizer.clip_norm": (1e-30, 1e38),
    "optimizer.b1": (0.0, _BELOW_1),
    "optimizer.b2": (0.0, _BELOW_1),
}
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "objective": ("lm", "prm"),
    "granularity": get_args(Granularity),
    "target": get_args(Target),
    "model.dtype": ("float32", "bfloat16", "float16"),
}
# Of a policy's corpus; a reward model's config has none of it.
_CORPUS_INTEGERS: Mapping[str, tuple[int, int]] = {
    "data.seed": (0, _MOST),
    "data.groups": (1, _MOST),
}
_PRM_NUMBERS: Mapping[str, tuple[float, float]] = {"sibling_weight": (0.0, 1e6)}
_CORPUS_NUMBERS: Mapping[str, tuple[float, float]] = {
    "data.records_share": (0.0, 1.0),
    "data.masked": (0.0, 1.0),
}


def check_config(config: Any) -> None:
    """Checks the values of a config.

    Args:
      config: a resolved one, see configs/.

    Raises:
      DataError: names the first key that is missing or whose value can't be used.
    """
    is_lm = _value(config, "objective") == "lm"
    for name, known in _CHOICES.items():
        if _value(config, name) not in known:
            found = _value(config, name)
            raise DataError(f"{name}: expected one of {', '.join(known)}, found {found!r}")
    for name, (least, most) in {**_INTEGERS, **(_CORPUS_INTEGERS if is_lm else {})}.items():
        value = _value(config, name)
        if type(value) is not int or not least <= value <= most or (least == -1 and not value):
            zero = ", but not 0" if least == -1 else ""
            raise DataError(
                f"{name}: expected an integer from {least} to {most}{zero}, found {value!r}"
            )
    for name, (low, high) in {**_NUMBERS, **(_CORPUS_NUMBERS if is_lm else _PRM_NUMBERS)}.items():
        value = _value(config, name)
        if type(value) not in (int, float) or not low <= value <= high:
            raise DataError(f"{name}: expected a number from {low} to {high}, found {value!r}")
    if config.lora.rank and not config.lora.alpha:
        raise DataError("lora.alpha: expected a number above 0 beside lora.rank, found 0")
    if config.eval_every and not config.data.eval_items:
        raise DataError("data.eval_items: expected at least 1 beside eval_every, found 0")


def _value(config: Any, name: str) -> Any:
    node = config
    for key in name.split("."):
        if not isinstance(node, ConfigDict) or key not in node:
            raise DataError(f"the config has no key {name}; configs/base.py lists all")
        node = node[key]
    return node
