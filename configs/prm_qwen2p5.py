"""The paper's run on Qwen2.5 of three sizes, whole or as LoRA, on five machines.

Command: toolprm-train --config prm_qwen2p5:SIZE_METHOD_MACHINE --workdir runs/prm \
        --config.init=MODEL_DIR --config.data.dataset=DIR/toolprm_steps/1.0.0
         SIZE is 1p5b, 3b or 7b, METHOD full or lora, MACHINE v5e16, v5p8, v6e8, h100 or h200; on a
         pod slice with --distributed=auto. A policy fine-tuned for calls, such as Hammer2.1 of the
         same size, has the same shape and is the better start. --config.granularity=orm and cprm
         make the twins.
Hardware: memory per device in docs/cloud_tpu.md, from --plan with --config.init=shape:qwen2.5-3b.
          7b_full is for the TPU slices only: 16 bytes a parameter are 122 GB.
Result: not run.

As configs/prm_hammer2p1_3b.py but for the mesh, which spreads parameters over all devices, and the
parts of a batch that run one after the other, one row a device. LoRA is our choice: rank 32 on all
matrices and a smaller learning rate, as is usual for adapters.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import prm_hammer2p1_3b

DEVICES = {"v5e16": 16, "v5p8": 4, "v6e8": 8, "h100": 1, "h200": 1}  # JAX devices; v5p-8 has 4
SIZES = ("1p5b", "3b", "7b")
METHODS = ("full", "lora")
VARIANTS = tuple(
    f"{size}_{method}_{machine}"
    for size in SIZES
    for method in METHODS
    for machine, devices in DEVICES.items()
    if (size, method) != ("7b", "full") or devices > 1
)


def get_config(variant: str = "3b_lora_v5e16") -> ConfigDict:
    if variant not in VARIANTS:
        raise ValueError(f"variant: expected one of {', '.join(VARIANTS)}, found {variant!r}")
    size, method, machine = variant.split("_")
    config = prm_hammer2p1_3b.get_config()
    config.init = f"models/Qwen2.5-{size.replace('p', '.').upper()}-Instruct"
    config.mesh.fsdp = DEVICES[machine]
    config.accumulation = config.data.rows_per_batch // DEVICES[machine]
    if method == "lora":
        config.lora.update(rank=32, alpha=64.0)
        config.optimizer.learning_rate = 2e-4
    return config
