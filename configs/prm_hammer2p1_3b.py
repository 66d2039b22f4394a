"""The paper's reward model: Hammer2.1-3B, trained to judge every decision (arXiv:2510.14703).

Command: toolprm-train --config prm_hammer2p1_3b --workdir runs/prm_3b \
        --distributed auto --config.init=MODEL_DIR --config.data.dataset=DIR/toolprm_steps/1.0.0
         The twins that it is compared with: configs/prm_hammer2p1_3b.py:orm and :cprm.
Hardware: written for a TPU v5e-16 (4x4). Parameters, gradient and both moments in float32 are 16
bytes for each of 3.1e9 parameters, 3.1 GB on each of 16 devices; activations come on top.
Result: not run. The paper's accuracy by step / trajectory: ORM 98.39 / 98.39, C-PRM 98.87 / 99.06,
ToolPRM 99.11 / 99.38.

From the paper: 5 epochs, batch 1024, Adam, learning rate 1e-3, warm-up ratio 0.008, weight decay
1e-5. Our choice: a batch is 1024 completions, which 48 rows of 2048 tokens hold at 9 completions
and 780 tokens a record (the log's `completions` tells); cosine decay, clipping.
"""

from __future__ import annotations

from ml_collections import ConfigDict

from configs import base

COMPLETIONS = 594_434  # of the paper's training set
BATCH = 1024
EPOCHS = 5
STEPS = EPOCHS * COMPLETIONS // BATCH


def get_config(granularity: str = "toolprm") -> ConfigDict:
    config = base.prm_config()
    config.template = "hammer"
    config.init = "models/Hammer2.1-3b"
    config.granularity = granularity
    config.update(steps=STEPS, accumulation=3, eval_every=200, checkpoint_every=200, keep_best=1)
    config.mesh.fsdp = 16
    config.optimizer.update(
        warmup_steps=round(0.008 * STEPS), end_fraction=0.1, weight_decay=1e-5, b2=0.999
    )
    config.data.update(
        dataset="data/toolprm_steps/1.0.0",
        group_size=1,
        row_length=2048,
        rows_per_batch=48,
        epochs=EPOCHS + 1,  # the steps end it; rows are never quite full
        eval_items=500,
    )
    return config
