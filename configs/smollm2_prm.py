"""The embedded process reward model: the embedded policy's adapter, trained to judge decisions.

Command: toolprm-train --config smollm2_prm --workdir runs/prm \
        --config.data.records=RECORDS --config.data.steps=STEPS \
        --config.data.heldout_records=RECORDS --config.data.heldout_steps=STEPS
Hardware: 2 CPU cores with AVX-512, 53 minutes beside other work.
Result: toolprm_jax/toolworld/CHECKPOINTS.md.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base


def get_config(granularity: str = "toolprm") -> ConfigDict:
    config = base.prm_config()
    config.init = "embedded:policy"
    config.lora.update(rank=16, alpha=32.0)  # as init has it
    config.granularity = granularity
    config.update(steps=165, accumulation=4, eval_every=50, checkpoint_every=40)
    config.optimizer.warmup_steps = 10
    return config
