#!/usr/bin/env bash
# Trains the embedded adapters again: policy, its rollouts, labels, reward model. Run by
# `make checkpoints` from the root of the repository. Stopped at any time, it goes on where it was:
# training resumes from its checkpoint, and a stage whose output is there is not run again.
#
#   checkpoints.sh PYTHON RUNS [DATA]
#
# DATA is a folder with seal-tools/ and xlam/ (see docs/training.md), whose records the policy is
# trained on beside the embedded corpus; without it the corpus alone is used.
set -eu
PYTHON=${1:-python}
RUNS=${2:-runs/checkpoints}
DATA=${3:-}
HERE=toolprm_jax/toolworld
export JAX_PLATFORMS=${JAX_PLATFORMS:-cpu}
mkdir -p "$RUNS"

run() { "$PYTHON" -m "$@"; }
# make FILE COMMAND...: runs a command that writes FILE, unless it is there.
make() { local file=$1; shift; [ -s "$file" ] || "$@"; }

if [ -n "$DATA" ]; then
  head -n 1300 "$DATA/seal-tools/seal_tools.jsonl" > "$RUNS/seal.jsonl"
  make "$RUNS/seal_masked.jsonl" run toolprm_jax.masking.mask --records "$RUNS/seal.jsonl" \
    --share 0.5 --style pseudoword --seed 1 --out "$RUNS/seal_masked.jsonl"
  make "$RUNS/xlam_masked.jsonl" run toolprm_jax.masking.mask \
    --records "$DATA/xlam/xlam_function_calling_sample_100.json" \
    --share 0.5 --seed 1 --out "$RUNS/xlam_masked.jsonl"
  cat "$RUNS/seal_masked.jsonl" "$RUNS/xlam_masked.jsonl" > "$RUNS/real.jsonl"
  REAL=--config.data.records=$RUNS/real.jsonl
else
  REAL=--config.data.records_share=0.0
fi
# Two runs; the second goes on from the first with queries of its own.
run train.main --config configs/smollm2_policy.py --workdir "$RUNS/policy1" "$REAL"
run train.main --config configs/smollm2_policy.py --workdir "$RUNS/policy" "$REAL" \
  --config.init="$RUNS/policy1/model" --config.seed=1 --config.data.seed=12 --config.steps=280 \
  --config.optimizer.learning_rate=8e-4
cp "$RUNS"/policy/model/* "$HERE/policy/"

# What the reward model learns from: the policy's own completions of the first queries, and for every
# query the gold or near misses, which cost no sampling.
corpus() { make "$RUNS/$1.jsonl" run toolprm_jax.toolworld.masked --split "$2" --seed "$3" \
  --count "$4" --group-size 6 --masked "$5" --out "$RUNS/$1.jsonl"; }
corpus judged train 3 520 0.67
corpus heldout heldout 1 24 1.0
annotated() { make "$RUNS/$2_steps.jsonl" run toolprm_jax.annotation.annotate \
    --records "$RUNS/$1.jsonl" --format record --rollouts "$RUNS/$2.jsonl" \
    --out "$RUNS/$2_steps.jsonl" --stats "$RUNS/$2_stats.json"; }
sampled() { run search.commands.rollout --model embedded:policy --records "$RUNS/$1.jsonl" \
    --format record --limit "$2" --num 4 --temperature 0.8 --max-tokens 160 --batch-size 24 \
    --max-shapes 3 --seed 1 --out "$RUNS/$1_sampled.jsonl"; annotated "$1" "$1_sampled"; }
mistakes=wrong_value,missing_parameter,extra_parameter,wrong_name,swapped_values
mistakes=$mistakes,duplicated_call,dropped_call,extra_call
made() { make "$RUNS/$1_made.jsonl" run toolprm_jax.annotation.corrupt \
    --records "$RUNS/$1.jsonl" --format record --num "$2" --gold-share 0.5 --seed 1 \
    --mistakes "$mistakes" --out "$RUNS/$1_made.jsonl"; annotated "$1" "$1_made"; }
sampled heldout 96
sampled judged 1200
head -n 1200 "$RUNS/judged.jsonl" > "$RUNS/judged_a.jsonl"
tail -n +1201 "$RUNS/judged.jsonl" > "$RUNS/judged_b.jsonl"
made judged_a 2
made judged_b 4
cat "$RUNS"/judged_{sampled,a_made,b_made}_steps.jsonl > "$RUNS/judged_steps.jsonl"
run train.main --config configs/smollm2_prm.py --workdir "$RUNS/prm" \
  --config.data.records="$RUNS/judged.jsonl" --config.data.steps="$RUNS/judged_steps.jsonl" \
  --config.data.heldout_records="$RUNS/heldout.jsonl" \
  --config.data.heldout_steps="$RUNS/heldout_sampled_steps.jsonl"
cp "$RUNS"/prm/model/* "$HERE/prm/"
