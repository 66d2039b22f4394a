"""A training config for tests: the embedded policy's, from scratch, at a width for seconds."""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import smollm2_policy


def get_config() -> ConfigDict:
    config = smollm2_policy.get_config()
    config.init = ""
    config.lora.rank = 0
    config.model = ConfigDict(
        {
            "vocab_size": 2048,
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_layers": 1,
            "num_heads": 2,
            "num_kv_heads": 1,
            "head_dim": 8,
            "dtype": "float32",
            "remat": True,
        }
    )
    config.update(
        {"steps": 7, "log_every": 1, "eval_every": 4, "checkpoint_every": 2, "accumulation": 2}
    )
    config.optimizer.update({"learning_rate": 1e-3, "warmup_steps": 2})
    config.data.update({"rows_per_batch": 4, "records_share": 0.3})
    config.data.update({"row_length": 512, "group_size": 1, "eval_items": 3, "masked": 1.0})
    return config
