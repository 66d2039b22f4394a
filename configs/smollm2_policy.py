"""The embedded policy: LoRA on SmolLM2-135M-Instruct, for the tools of the embedded corpus.

Command: toolprm-train --config smollm2_policy --workdir runs/policy \
        --config.data.records=RECORDS
RECORDS are real function-calling records to mix in (see toolprm_jax/toolworld/checkpoints.sh); with
--config.data.records= and --config.data.records_share=0 the corpus alone is learned.
Hardware: 2 CPU cores with AVX-512 BF16, about 50 minutes.
Result: toolprm_jax/toolworld/CHECKPOINTS.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base


def get_config() -> ConfigDict:
    config = base.lm_config()
    config.init = "smollm2"
    config.lora.update(rank=16, alpha=32.0)
    config.update(steps=220, accumulation=4, checkpoint_every=50)
    config.optimizer.warmup_steps = 20
    config.data.update(records_share=0.3, seed=11, row_length=640, eval_items=12)
    return config
