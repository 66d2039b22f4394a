"""The embedded process reward model: the embedded policy's adapter, trained to judge decisions.

Command: toolprm-train --config smollm2_prm --workdir runs/prm \
        --config.data.records=RECORDS --config.data.steps=STEPS \
        --config.data.heldout_records=RECORDS --config.data.heldout_steps=STEPS
         The twins that it is compared with: smollm2_prm:orm, smollm2_prm:cprm.
Hardware: one H200, 2 minutes alone. Where memory is short, --config.accumulation=16 runs row by
row.
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
    config.update(steps=340)
    config.optimizer.warmup_steps = 20
    config.data.update(row_length=1024, rows_per_batch=16)
    return config
