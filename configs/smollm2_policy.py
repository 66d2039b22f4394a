"""The embedded policy: LoRA on SmolLM2-135M-Instruct, for function calls of many kinds.

Command: toolprm-train --config smollm2_policy --workdir runs/policy \
        --config.data.records=RECORDS
RECORDS are real function-calling records, half of what is learned (see
toolprm_jax/toolworld/checkpoints.sh); with --config.data.records= and --config.data.records_share=0
the embedded corpus alone is learned.
Hardware: one H200, 3 minutes. Where memory is short, --config.accumulation=16 runs row by row.
Result: toolprm_jax/toolworld/CHECKPOINTS.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.lm_config()
    config.init = "smollm2"
    config.lora.update(rank=16, alpha=32.0)
    config.update(steps=906, checkpoint_every=300)
    config.optimizer.update(learning_rate=1.5e-3, warmup_steps=50)
    config.data.update(records_share=0.5, seed=11, row_length=1024, rows_per_batch=16)
    return config
