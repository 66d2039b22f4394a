"""Every key that a config has, with what it means; the other files give their differences."""

from __future__ import annotations

from ml_collections import ConfigDict

LINEAR = "q_proj,k_proj,v_proj,o_proj,gate_proj,up_proj,down_proj"


def get_config() -> ConfigDict:
    return ConfigDict(
        {
            "objective": "prm",  # or "lm": a policy
            "template": "compact",  # of the prompts, see toolprm_jax/tokens/prompts.py
            "tokenizer": "",  # a directory; "": the one of init
            "init": "",  # a model's name, see README; "": fresh parameters
            "lora": {  # rank 0 trains the whole model
                "rank": 0,
                "alpha": 0.0,
                "targets": LINEAR,
                "first_layer": 0,  # layers below it stay those of init
            },
            "granularity": "toolprm",  # which decisions are judged; or "cprm", "orm"
            "target": "label",  # or "prefix"
            "seed": 0,
            "steps": 0,
            "accumulation": 1,  # parts of a batch that run one after the other
            "log_every": 10,
            "eval_every": 100,  # 0: never
            "checkpoint_every": 100,
            "keep": 2,  # newest checkpoints
            "keep_best": 0,  # checkpoints of the lowest eval_loss, kept beside them
            "tensorboard": False,
            "wandb": "",  # project of Weights & Biases; "": none
            "mesh": {"data": -1, "fsdp": 1, "tensor": 1},  # devices; -1: all that are left
            "model": {"dtype": "bfloat16", "remat": True},  # the shape comes with init
            "optimizer": {
                "learning_rate": 1e-3,
                "warmup_steps": 0,
                "end_fraction": 0.05,  # of the learning rate, after the cosine decay
                "weight_decay": 0.01,
                "clip_norm": 1.0,
                "b1": 0.9,
                "b2": 0.99,
            },
            "data": {
                "records": "",  # of a policy: real records beside the embedded corpus
                "heldout_records": "",  # of a policy: "" for held-out tools of the corpus
                "format": "",  # of the records; "": recognised
                "group_size": 6,  # records of one tool list that share a tree
                "row_length": 768,  # S, in tokens
                "rows_per_batch": 4,
                "epochs": 0,  # 0: as many as the steps need
                "eval_items": 10,
            },
        }
    )


def prm_config() -> ConfigDict:
    config = get_config()
    config.sibling_weight = 0.0  # of the loss over right and wrong siblings; 0: the paper's
    config.data.dataset = ""  # of toolprm-annotate --tfds-dir; "": the files
    config.data.steps = ""
    config.data.heldout_steps = ""
    return config


def lm_config() -> ConfigDict:
    config = get_config()
    config.objective = "lm"
    config.data.records_share = 1.0  # share of the items that are records; the others are corpus
    config.data.seed = 0  # of the corpus
    config.data.split = "train"  # tools of the corpus; "taught": two thirds of them
    config.data.groups = 1_000_000  # of the corpus, which has no end
    config.data.masked = 0.67  # share of the groups whose names are masked
    return config
