"""The mesh, and one table that says which axis of which array lies along which axis of the mesh."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from typing import Any

import flax.linen as nn
import jax
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("data", "fsdp", "tensor")

# Logical axis -> mesh axes. Every array of a training run is laid out by this table alone.
MESH_AXES: dict[str, tuple[str, ...]] = {
    "batch": ("data", "fsdp"),
    "vocab": ("tensor",),
    "embed": ("fsdp",),
    "heads": ("tensor",),
    "mlp": ("tensor",),
    "layers": (),
    "head_dim": (),
    "sequence": (),
    "rank": (),  # of adapters
    "markers": (),
    "hidden": (),  # of activations: "embed" there would gather the batch
}

# End of a parameter's path -> its logical axes. Layers are stacked, so theirs start with "layers".
PARAMETER_AXES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"embed_tokens/embedding", ("vocab", "embed")),
    (r"lm_head/kernel", ("embed", "vocab")),
    (r"params/norm/scale", ("embed",)),
    (r"self_attn/[qkv]_proj/kernel", ("layers", "embed", "heads")),
    (r"self_attn/[qkv]_proj/bias", ("layers", "heads")),
    (r"self_attn/[qk]_norm/scale", ("layers", "head_dim")),
    (r"self_attn/o_proj/kernel", ("layers", "heads", "embed")),
    (r"mlp/(gate|up)_proj/kernel", ("layers", "embed", "mlp")),
    (r"mlp/down_proj/kernel", ("layers", "mlp", "embed")),
    (r"\w+_layernorm/scale", ("layers", "embed")),
    (r"(self_attn/[qkv]|mlp/(gate|up))_proj/kernel_lora_a", ("layers", "embed", "rank")),
    (r"self_attn/[qkv]_proj/kernel_lora_b", ("layers", "rank", "heads")),
    (r"mlp/(gate|up)_proj/kernel_lora_b", ("layers", "rank", "mlp")),
    (r"self_attn/o_proj/kernel_lora_a", ("layers", "heads", "rank")),
    (r"mlp/down_proj/kernel_lora_a", ("layers", "mlp", "rank")),
    (r"(o|down)_proj/kernel_lora_b", ("layers", "rank", "embed")),
    (r"token_rows", ("markers", "embed")),
)

# A module's name -> logical axes of its output.
ACTIVATION_AXES: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"embed_tokens|norm|\w+_layernorm|(o|down)_proj", ("batch", "sequence", "hidden")),
    (r"[qkv]_proj", ("batch", "sequence", "heads")),
    (r"(gate|up)_proj", ("batch", "sequence", "mlp")),
)


def make_mesh(
    data: int = -1, fsdp: int = 1, tensor: int = 1, devices: Sequence[Any] | None = None
) -> Mesh:
    """A mesh over all devices.

    Args:
      data: size of the data axis; -1 takes the devices that the other axes leave.
      fsdp: size of the axis along which parameters and batch are split.
      tensor: size of the axis along which heads, feed-forward and vocabulary are split.
      devices: which ones; all that there are if None.

    Raises:
      ValueError: the sizes don't multiply to the number of devices.
    """
    devices = jax.devices() if devices is None else devices
    count = len(devices)
    if data == -1:
        data = count // (fsdp * tensor)
    if data * fsdp * tensor != count:
        raise ValueError(
            f"mesh data={data} fsdp={fsdp} tensor={tensor} needs {data * fsdp * tensor} devices, "
            f"there are {count}"
        )
    return jax.make_mesh(
        (data, fsdp, tensor), AXES, axis_types=(AxisType.Auto,) * 3, devices=devices
    )


def _spec(mesh: Mesh, axes: tuple[str, ...], shape: tuple[int, ...]) -> PartitionSpec:
    """Mesh axes of an array; a dimension that its mesh axes don't divide stays whole."""
    entries: list[Any] = []
    for axis, size in zip(axes, shape, strict=True):
        names = MESH_AXES[axis]
        parts = 1
        for name in names:
            parts *= mesh.shape[name]
        whole = not names or size % parts
        entries.append(None if whole else names[0] if len(names) == 1 else names)
    return PartitionSpec(*entries)


def param_shardings(mesh: Mesh, tree: Any) -> Any:
    """Shardings of parameters and of whatever follows their structure (optimizer state).

    Args:
      mesh: from `make_mesh`.
      tree: a pytree of arrays or `jax.ShapeDtypeStruct`; scalars are replicated.

    Returns:
      The same pytree with a NamedSharding at every leaf.

    Raises:
      ValueError: a leaf is in no row of `PARAMETER_AXES`, or has another rank than its row.
    """

    def leaf(path: Any, value: Any) -> NamedSharding:
        if not value.shape:
            return NamedSharding(mesh, PartitionSpec())
        name = jax.tree_util.keystr(path, simple=True, separator="/")
        for pattern, axes in PARAMETER_AXES:
            if re.search(f"(^|/){pattern}$", name) and len(axes) == len(value.shape):
                return NamedSharding(mesh, _spec(mesh, axes, value.shape))
        raise ValueError(f"no sharding rule for {name} of shape {tuple(value.shape)}")

    return jax.tree_util.tree_map_with_path(leaf, tree)


def with_sharded_activations(mesh: Mesh, function: Callable[..., Any]) -> Callable[..., Any]:
    """A function that applies the decoder, with the decoder's activations laid out by the table.

    XLA would otherwise choose between the layouts of batch and parameters wherever they meet.
    """

    def constrain(
        method: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        out = method(*args, **kwargs)
        if context.method_name != "__call__" or getattr(out, "ndim", 0) != 3:
            return out
        for pattern, axes in ACTIVATION_AXES:
            if re.fullmatch(pattern, str(context.module.name)):
                sharding = NamedSharding(mesh, _spec(mesh, axes, out.shape))
                return jax.lax.with_sharding_constraint(out, sharding)
        return out

    def constrained(*args: Any) -> Any:
        with nn.intercept_methods(constrain):
            return function(*args)

    return constrained


def batch_sharding(mesh: Mesh) -> NamedSharding:
    """Sharding of accumulated batches `[A, B, S]`: rows over the data and fsdp axes."""
    return NamedSharding(mesh, PartitionSpec(None, MESH_AXES["batch"], None))
