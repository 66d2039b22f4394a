"""The embedded policy: LoRA on SmolLM2-135M-Instruct, for the tools of the embedded corpus.

Command: toolprm-train --config configs/smollm2_policy.py --workdir runs/policy \
        --config.data.records=RECORDS
RECORDS are real function-calling records to mix in (see toolprm_jax/toolworld/checkpoints.sh); with
--config.data.records= and --config.data.records_share=0 the corpus alone is learned.
Hardware: 2 CPU cores with AVX-512 BF16, about 50 minutes.
Result: toolprm_jax/toolworld/CHECKPOINTS.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "objective": "lm",
            "template": "compact",
            "tokenizer": "",  # "": the one of init
            "init": "smollm2",  # "": fresh parameters
            "lora": {  # rank 0 trains the whole model
                "rank": 16,
                "alpha": 32.0,
                "targets": "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj",
                "first_layer": 0,  # layers below it stay those of init
            },
            "granularity": "toolprm",
            "target": "label",
            "seed": 0,
            "steps": 220,
            "accumulation": 4,
            "log_every": 10,
            "eval_every": 100,
            "checkpoint_every": 50,
            "keep": 2,  # newest checkpoints
            "keep_best": 0,  # checkpoints of the lowest eval_loss, kept beside them
            "tensorboard": False,
            "wandb": "",  # project of Weights & Biases; "": none
            "mesh": {"data": -1, "fsdp": 1, "tensor": 1},
            "model": {"dtype": "bfloat16", "remat": True},  # the shape comes with init
            "optimizer": {
                "learning_rate": 1e-3,
                "warmup_steps": 20,
                "end_fraction": 0.05,
                "weight_decay": 0.01,
                "clip_norm": 1.0,
                "b1": 0.9,
                "b2": 0.99,
            },
            "data": {
                "records": "",  # real records beside the embedded corpus
                "records_share": 0.3,  # share of the items that are records; 1: they alone
                "heldout_records": "",  # "": held-out tools of the corpus
                "steps": "",
                "heldout_steps": "",
                "format": "",  # "": recognised
                "seed": 11,
                "groups": 1_000_000,
                "group_size": 6,
                "masked": 0.67,  # share of the groups whose names are masked
                "row_length": 640,
                "rows_per_batch": 4,
                "epochs": 0,  # 0: as many as the steps need
                "eval_items": 12,
            },
        }
    )
