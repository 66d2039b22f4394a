#!/usr/bin/env bash
# Trains the embedded models again: tokenizer, policy (two stages), its rollouts, labels, PRM.
# Run by `make checkpoints` from the root of the repository. Two devices use both cores of a small
# machine; one row per device at a time keeps attention in its cache.
set -eu
PYTHON=${1:-python}
RUNS=${2:-runs/checkpoints}
HERE=toolprm_jax/toolworld
export JAX_PLATFORMS=${JAX_PLATFORMS:-cpu}
export XLA_FLAGS=${XLA_FLAGS:---xla_force_host_platform_device_count=2}
mkdir -p "$RUNS"

"$PYTHON" -m toolprm_jax.toolworld.tokenizer --out "$RUNS/tokenizer"
# First at most one call a query, then any number.
"$PYTHON" -m train.main --config configs/toy_policy.py --workdir "$RUNS/one_call" \
  --config.tokenizer="$RUNS/tokenizer" --config.steps=1000 --config.data.max_calls=1 \
  --config.data.group_size=12 --config.optimizer.end_fraction=0.6 --config.eval_every=250
"$PYTHON" -m train.main --config configs/toy_policy.py --workdir "$RUNS/policy" \
  --config.tokenizer="$RUNS/tokenizer" --config.init="$RUNS/one_call/model" \
  --config.data.seed=1 --config.data.copy_warmup_rows=0 --config.optimizer.warmup_steps=30 \
  --config.optimizer.learning_rate=0.0025
cp "$RUNS"/policy/model/* "$HERE/policy/"

draws=0
for split in train invented heldout; do
  draws=$((draws + 1))
  if [ $split = heldout ]; then seed=1 count=300; else seed=3 count=2400; fi
  "$PYTHON" -m toolprm_jax.toolworld.masked --split $split --seed $seed --count $count \
    --out "$RUNS/$split.jsonl"
  XLA_FLAGS= "$PYTHON" -m search.rollout --model "$HERE/policy" --records "$RUNS/$split.jsonl" \
    --format record --num 8 --temperature 0.8 --max_tokens 128 --batch_size 32 --max_shapes 2 \
    --seed $draws --out "$RUNS/${split}_rollouts.jsonl"
  "$PYTHON" -m toolprm_jax.annotation.annotate --records "$RUNS/$split.jsonl" --format record \
    --rollouts "$RUNS/${split}_rollouts.jsonl" --out "$RUNS/${split}_steps.jsonl" \
    --stats "$RUNS/${split}_stats.json"
done
cat "$RUNS/train.jsonl" "$RUNS/invented.jsonl" > "$RUNS/judged.jsonl"
cat "$RUNS/train_steps.jsonl" "$RUNS/invented_steps.jsonl" > "$RUNS/judged_steps.jsonl"
"$PYTHON" -m train.main --config configs/toy_prm.py --workdir "$RUNS/prm" \
  --config.data.records="$RUNS/judged.jsonl" --config.data.steps="$RUNS/judged_steps.jsonl" \
  --config.data.heldout_records="$RUNS/heldout.jsonl" \
  --config.data.heldout_steps="$RUNS/heldout_steps.jsonl"
cp "$RUNS"/prm/model/* "$HERE/prm/"
