"""The embedded process reward model: the embedded policy's adapter, trained to judge decisions.

Command: toolprm-train --config configs/smollm2_prm.py --workdir runs/prm \
        --config.data.records=RECORDS --config.data.steps=STEPS \
        --config.data.heldout_records=RECORDS --config.data.heldout_steps=STEPS
Hardware: 2 CPU cores with AVX-512, 53 minutes beside other work.
Result: toolprm_jax/toolworld/CHECKPOINTS.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict


def get_config(granularity: str = "toolprm") -> ConfigDict:
    return ConfigDict(
        {
            "objective": "prm",
            "template": "compact",
            "tokenizer": "",  # "": the one of init
            "init": "embedded:policy",
            "lora": {  # those of init
                "rank": 16,
                "alpha": 32.0,
                "targets": "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj",
                "first_layer": 0,  # layers below it stay those of init
            },
            "granularity": granularity,  # or "cprm", "orm"
            "target": "label",  # or "prefix"
            "seed": 0,
            "steps": 165,
            "accumulation": 4,
            "log_every": 10,
            "eval_every": 50,
            "checkpoint_every": 40,
            "keep": 2,  # newest checkpoints
            "keep_best": 0,  # checkpoints of the lowest eval_loss, kept beside them
            "tensorboard": False,
            "wandb": "",  # project of Weights & Biases; "": none
            "mesh": {"data": -1, "fsdp": 1, "tensor": 1},
            "model": {"dtype": "bfloat16", "remat": True},  # the shape comes with init
            "optimizer": {
                "learning_rate": 1e-3,
                "warmup_steps": 10,
                "end_fraction": 0.05,
                "weight_decay": 0.01,
                "clip_norm": 1.0,
                "b1": 0.9,
                "b2": 0.99,
            },
            "data": {
                "dataset": "",  # of toolprm-annotate --tfds-dir; "": the files below
                "records": "",
                "steps": "",
                "heldout_records": "",
                "heldout_steps": "",
                "format": "",  # "": recognised
                "group_size": 6,  # records of one tool list that share a tree
                "row_length": 768,
                "rows_per_batch": 4,
                "epochs": 0,  # 0: as many as the steps need
                "eval_items": 10,
            },
        }
    )
