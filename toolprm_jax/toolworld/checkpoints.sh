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
  make "$RUNS/seal_masked.jsonl" run toolprm_jax.annotation.mask_main --records "$RUNS/seal.jsonl" \
    --share 0.5 --style pseudoword --seed 1 --out "$RUNS/seal_masked.jsonl"
  make "$RUNS/xlam_masked.jsonl" run toolprm_jax.annotation.mask_main \
    --records "$DATA/xlam/xlam_function_calling_sample_100.json" \
    --share 0.5 --seed 1 --out "$RUNS/xlam_masked.jsonl"
  cat "$RUNS/seal_masked.jsonl" "$RUNS/xlam_masked.jsonl" > "$RUNS/real.jsonl"
  run train.main --config configs/smollm2_policy.py --workdir "$RUNS/policy" \
    --config.data.records="$RUNS/real.jsonl"
else
  run train.main --config configs/smollm2_policy.py --workdir "$RUNS/policy" \
    --config.data.records_share=0.0
fi
cp "$RUNS"/policy/model/* "$HERE/policy/"

# What the reward model learns from: for every query its gold and three near misses, which cost no
# sampling; for the first queries the policy's own completions too.
corpus() { make "$RUNS/$1.jsonl" run toolprm_jax.toolworld.masked --split "$2" --seed "$3" \
  --count "$4" --group_size 6 --masked "$5" --out "$RUNS/$1.jsonl"; }
corpus judged train 3 520 0.67
corpus heldout heldout 1 24 1.0
for name in judged heldout; do
  if [ $name = judged ]; then limit=480; else limit=96; fi
  make "$RUNS/${name}_sampled.jsonl" run search.rollout --model embedded:policy \
    --records "$RUNS/$name.jsonl" --format record --limit $limit --num 4 --temperature 0.8 \
    --max_tokens 160 --batch_size 8 --max_shapes 2 --seed 1 --out "$RUNS/${name}_sampled.jsonl"
  make "$RUNS/${name}_sampled_steps.jsonl" run toolprm_jax.annotation.annotate \
    --records "$RUNS/$name.jsonl" --format record --rollouts "$RUNS/${name}_sampled.jsonl" \
    --out "$RUNS/${name}_sampled_steps.jsonl" --stats "$RUNS/${name}_sampled_stats.json"
done
# One in four of any kind of mistake or the gold; two more with the mistakes that policies make.
values=wrong_value,missing_parameter,extra_parameter
made() { make "$RUNS/judged_$1.jsonl" run toolprm_jax.annotation.corrupt_main \
    --records "$RUNS/judged.jsonl" --format record --num "$2" --gold-share "$3" --seed 1 \
    --mistakes "$4" --out "$RUNS/judged_$1.jsonl"
  make "$RUNS/judged_$1_steps.jsonl" run toolprm_jax.annotation.annotate \
    --records "$RUNS/judged.jsonl" --format record --rollouts "$RUNS/judged_$1.jsonl" \
    --out "$RUNS/judged_$1_steps.jsonl" --stats "$RUNS/judged_$1_stats.json"; }
made made 4 0.3 "$values,wrong_name,swapped_values,duplicated_call,dropped_call,extra_call"
made values 2 0 "$values"
cat "$RUNS"/judged_{sampled,made,values}_steps.jsonl > "$RUNS/judged_steps.jsonl"
run train.main --config configs/smollm2_prm.py --workdir "$RUNS/prm" \
  --config.data.records="$RUNS/judged.jsonl" --config.data.steps="$RUNS/judged_steps.jsonl" \
  --config.data.heldout_records="$RUNS/heldout.jsonl" \
  --config.data.heldout_steps="$RUNS/heldout_sampled_steps.jsonl"
cp "$RUNS"/prm/model/* "$HERE/prm/"
