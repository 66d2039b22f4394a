"""The embedded process reward model: the embedded policy, trained to judge its own rollouts.

Command: toolprm-train --config configs/toy_prm.py --workdir runs/prm \
        --config.data.records=RECORDS --config.data.steps=STEPS \
        --config.data.heldout_records=RECORDS --config.data.heldout_steps=STEPS
Hardware: 2 CPU cores with XLA_FLAGS=--xla_force_host_platform_device_count=2, about 15 minutes.
Result: toolprm_jax/toolworld/CHECKPOINTS.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "objective": "prm",
            "template": "compact",
            "tokenizer": "",  # "": the one in init
            "init": "toolprm_jax/toolworld/policy",  # "": fresh parameters
            "granularity": "toolprm",  # or "cprm", "orm"
            "target": "label",  # or "prefix"
            "retrieval_heads": True,  # of fresh parameters
            "seed": 0,
            "steps": 800,
            "accumulation": 4,
            "log_every": 10,
            "eval_every": 100,
            "checkpoint_every": 250,
            "keep": 2,  # newest checkpoints
            "keep_best": 0,  # checkpoints of the lowest eval_loss, kept beside them
            "tensorboard": False,
            "wandb": "",  # project of Weights & Biases; "": none
            "mesh": {"data": -1, "fsdp": 1, "tensor": 1},
            # The shape comes with init; fresh layers go on top of it.
            "model": {"dtype": "float32", "remat": True, "more_layers": 2},
            "optimizer": {
                "learning_rate": 1e-3,
                "warmup_steps": 50,
                "end_fraction": 0.1,
                "weight_decay": 0.01,
                "clip_norm": 1.0,
                "b1": 0.9,
                "b2": 0.95,
            },
            "data": {
                "dataset": "",  # of toolprm-annotate --tfds-dir; "": the files below
                "records": "",
                "steps": "",
                "heldout_records": "",
                "heldout_steps": "",
                "format": "",  # "": recognised
                "max_calls": 0,  # per query; 0: any
                "row_length": 640,
                "rows_per_batch": 8,
                "epochs": 0,  # 0: as many as the steps need
                "copy_warmup_rows": 0,
                "eval_items": 500,
            },
        }
    )
