"""The embedded policy: a small decoder that learns to call the tools of the embedded corpus.

Command: python -m toolprm_jax.toolworld.tokenizer --out runs/tokenizer
         toolprm-train --config configs/toy_policy.py --workdir runs/policy
Hardware: 2 CPU cores with XLA_FLAGS=--xla_force_host_platform_device_count=2, about 35 minutes.
Result: toolprm_jax/toolworld/CHECKPOINTS.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "objective": "lm",
            "template": "compact",
            "tokenizer": "runs/tokenizer",  # "": the one in init
            "init": "",  # "": fresh parameters
            "granularity": "toolprm",
            "target": "label",
            "retrieval_heads": True,  # of fresh parameters
            "seed": 0,
            "steps": 2600,
            "accumulation": 4,
            "log_every": 10,
            "eval_every": 400,
            "checkpoint_every": 200,
            "keep": 2,  # newest checkpoints
            "keep_best": 0,  # checkpoints of the lowest eval_loss, kept beside them
            "tensorboard": False,
            "wandb": "",  # project of Weights & Biases; "": none
            "mesh": {"data": -1, "fsdp": 1, "tensor": 1},
            "model": {
                "vocab_size": 2048,
                "hidden_size": 128,
                "intermediate_size": 384,
                "num_layers": 4,
                "num_heads": 6,
                "num_kv_heads": 3,
                "head_dim": 32,
                "rope_theta": 1_000_000.0,
                "qkv_bias": True,
                "tie_embeddings": False,
                "dtype": "float32",
                "remat": True,
            },
            "optimizer": {
                "learning_rate": 3e-3,
                "warmup_steps": 80,
                "end_fraction": 0.1,
                "weight_decay": 0.01,
                "clip_norm": 1.0,
                "b1": 0.9,
                "b2": 0.95,
            },
            "data": {
                "records": "",  # "": the embedded corpus
                "heldout_records": "",
                "steps": "",
                "heldout_steps": "",
                "format": "",  # "": recognised
                "seed": 0,
                "groups": 1_000_000,
                "group_size": 10,
                "max_calls": 0,  # per query; 0: any
                "invented": 0.5,  # share of the groups
                "row_length": 512,
                "rows_per_batch": 8,
                "epochs": 0,  # 0: as many as the steps need
                "copy_warmup_rows": 120,
                "eval_items": 60,
            },
        }
    )
