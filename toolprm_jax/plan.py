"""What a program needs on devices that may not be there: compiled ahead of time, never run."""

from __future__ import annotations

import dataclasses
import math
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies
from rich.console import Console
from rich.table import Table

from .model import DecoderConfig
from .model.files import CONFIG_FILE, config_from_hf, load_weights
from .records import DataError, read_json
from .tokens import Codec, Contract, load_tokenizer
from .toolworld import EMBEDDED, TOKENIZER

# Bytes of memory of one JAX device, from its maker's data sheet, by `device_kind`.
MEMORY = {
    "TPU v4": 32 << 30,
    "TPU v5 lite": 16 << 30,
    "TPU v5": 95 << 30,
    "TPU v6 lite": 32 << 30,
    "NVIDIA A100-SXM4-80GB": 80 << 30,
    "NVIDIA H100 80GB HBM3": 80 << 30,
    "NVIDIA H200": 141 << 30,
}

# Published models, so that a plan needs no file of theirs; the numbers are those of config.json.
_QWEN = {"vocab_size": 151_936, "num_kv_heads": 2, "head_dim": 128, "tie_embeddings": True}
SHAPES: dict[str, DecoderConfig] = {
    "qwen2.5-0.5b": DecoderConfig(
        **{**_QWEN, "head_dim": 64},
        hidden_size=896,
        intermediate_size=4864,
        num_layers=24,
        num_heads=14,
    ),
    "qwen2.5-1.5b": DecoderConfig(
        **_QWEN, hidden_size=1536, intermediate_size=8960, num_layers=28, num_heads=12
    ),
    "qwen2.5-3b": DecoderConfig(
        **_QWEN, hidden_size=2048, intermediate_size=11_008, num_layers=36, num_heads=16
    ),
    "qwen2.5-7b": DecoderConfig(
        vocab_size=152_064,
        hidden_size=3584,
        intermediate_size=18_944,
        num_layers=28,
        num_heads=28,
        num_kv_heads=4,
        head_dim=128,
    ),
}


class Plan(NamedTuple):
    """What one device holds while a program runs."""

    parts: dict[str, int]  # bytes of each part of the input
    temporary: int  # bytes that only live while it runs, the program itself included
    output: int  # bytes of results that take no input's place
    devices: int
    kind: str  # of a device
    compile_seconds: float

    @property
    def total(self) -> int:
        """Bytes in use at the peak."""
        return sum(self.parts.values()) + self.temporary + self.output

    @property
    def memory(self) -> int | None:
        """Bytes that the device has, where known."""
        return MEMORY.get(self.kind)


def shape_of(name: str, **changes: Any) -> DecoderConfig:
    """A decoder's shape: "shape:" and a key of `SHAPES`, or a model as for `load`.

    Args:
      name: which.
      **changes: fields to replace, such as dtype.

    Raises:
      DataError: there is no such shape or model.
    """
    prefix, _, key = name.partition("shape:")
    if prefix or not key:
        file = Path(name) / CONFIG_FILE
        found = (
            config_from_hf(read_json(file), file) if file.is_file() else load_weights(name).config
        )
        return dataclasses.replace(found, **changes)
    if key not in SHAPES:
        raise DataError(f"{name}: no such shape; expected one of {', '.join(SHAPES)}")
    return dataclasses.replace(SHAPES[key], **changes)


def any_codec() -> Codec:
    """A text side for programs that are only compiled, where what it holds is of no weight."""
    return Codec(load_tokenizer(TOKENIZER), Contract.load(EMBEDDED["embedded:prm"]))


def planned_devices(topology: str | None) -> Sequence[Any]:
    """The devices of a TPU slice that isn't there, such as "v5e:4x4"; None for those that are.

    Raises:
      DataError: libtpu is not installed, or knows no such slice.
    """
    if topology is None:
        return jax.devices()
    # No TPU is looked for, and none is taken from another process.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    try:
        found = topologies.get_topology_desc(platform="tpu", topology_name=topology)
    except Exception as error:  # libtpu raises several kinds for a name that it doesn't know
        reason = str(error).splitlines()[0]
        raise DataError(
            f"--topology {topology}: {reason}; it needs libtpu (pip install libtpu)"
        ) from None
    return found.devices


def device_bytes(tree: Any) -> int:
    """Bytes that abstract arrays take on one device; those without a sharding are on each."""

    def size(leaf: Any) -> int:
        sharding = getattr(leaf, "sharding", None)
        shape = leaf.shape if sharding is None else sharding.shard_shape(leaf.shape)
        return math.prod(shape) * leaf.dtype.itemsize

    return sum(map(size, jax.tree.leaves(tree)))


def make_plan(lowered: Any, parts: Mapping[str, Any], devices: Sequence[Any]) -> Plan:
    """Compiles a program and reads what it needs.

    Args:
      lowered: what `jit(...).lower(...)` returns, for these devices.
      parts: abstract arrays by name; the input that is in none of them counts as "other input".
      devices: of the mesh.

    Raises:
      DataError: the compiler says that the program doesn't fit.
    """
    start = time.perf_counter()
    try:
        memory = lowered.compile().memory_analysis()
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise DataError(f"does not fit: {str(error).splitlines()[0]}") from None
    seconds = time.perf_counter() - start
    sizes = {name: device_bytes(tree) for name, tree in parts.items()}
    other = memory.argument_size_in_bytes - sum(sizes.values())
    return Plan(
        parts={**sizes, "other input": max(other, 0)},
        temporary=memory.temp_size_in_bytes + memory.generated_code_size_in_bytes,
        output=memory.output_size_in_bytes - memory.alias_size_in_bytes,
        devices=len(devices),
        kind=devices[0].device_kind,
        compile_seconds=seconds,
    )


def print_plan(plan: Plan, facts: Mapping[str, str]) -> None:
    """Prints a plan as a table.

    Args:
      plan: from `make_plan`.
      facts: what else to tell, by name.
    """
    table = Table(title=f"{plan.devices} x {plan.kind}, per device")
    table.add_column("part")
    table.add_column("GB", justify="right")
    rows = {**plan.parts, "temporary": plan.temporary, "output": plan.output}
    for name, size in rows.items():
        table.add_row(name, f"{size / 1e9:.3f}")
    table.add_row("total", f"{plan.total / 1e9:.3f}", style="bold")
    if plan.memory is not None:
        table.add_row("the device has", f"{plan.memory / 1e9:.3f}")
        table.add_row("fits", "yes" if plan.total <= plan.memory else "no", style="bold")
    console = Console(width=80)
    console.print(table)
    for name, value in {**facts, "compiled in": f"{plan.compile_seconds:.1f} s"}.items():
        console.print(f"{name}: {value}")
