#!/usr/bin/env bash
# Trains the embedded adapters again: policy, its rollouts, labels, reward model and the twins that
# it is compared with. Run by `make checkpoints` from the root of the repository. Stopped at any
# time, it goes on where it was: training resumes from its checkpoint, sampling after its last whole
# line, and a stage whose output is there is not run again.
#
#   checkpoints.sh PYTHON RUNS [DATA]
#
# DATA is a folder with seal-tools/, xlam/ and train/ (see docs/training.md), whose records both are
# trained on beside the embedded corpus; without it the corpus alone is used. JAX_PLATFORMS is cpu
# unless it is set: with JAX_PLATFORMS=cuda or tpu add BATCH=256 LANES=2048 ACCUMULATION=1.
set -eu
PYTHON=${1:-python}
RUNS=${2:-runs/checkpoints}
DATA=${3:-}
HERE=toolprm_jax/toolworld
export JAX_PLATFORMS=${JAX_PLATFORMS:-cpu}
BATCH=${BATCH:-24} LANES=${LANES:-256} ACCUMULATION=${ACCUMULATION:-16}
mkdir -p "$RUNS"

run() { "$PYTHON" -m "$@"; }
# make FILE COMMAND...: runs a command that writes FILE, unless it is there.
make() { local file=$1; shift; [ -s "$file" ] || "$@"; }
train() { run train.main --config.accumulation="$ACCUMULATION" "$@"; }

# varied NAME PASSES SHARE SEED: the real records, each PASSES times, a SHARE of them unanswerable.
varied() { make "$RUNS/$1.jsonl" run toolprm_jax.toolworld.variations --records "$RUNS/seal.jsonl" \
  "$DATA/train/xlam_1k.jsonl" "$DATA/train/glaive_300.jsonl" \
  "$DATA/xlam/xlam_function_calling_sample_100.json" \
  --passes "$2" --masked 0.5 --unanswerable "$3" --seed "$4" --part "${5:-all}" \
  --out "$RUNS/$1.jsonl"; }
corpus() { make "$RUNS/$1.jsonl" run toolprm_jax.toolworld.masked --split "$2" --seed "$3" \
  --count "$4" --group-size "$5" --masked "$6" --out "$RUNS/$1.jsonl"; }

corpus corpus train 3 500 6 0.67
corpus heldout heldout 1 96 1 1.0
cp "$RUNS/corpus.jsonl" "$RUNS/judged.jsonl"
REAL=--config.data.records_share=0.0
if [ -n "$DATA" ]; then
  head -n 1300 "$DATA/seal-tools/seal_tools.jsonl" > "$RUNS/seal.jsonl"
  varied real 8 0.2 1
  varied real_once 1 0.25 9
  cat "$RUNS/corpus.jsonl" "$RUNS/real_once.jsonl" > "$RUNS/judged.jsonl"
  REAL=--config.data.records=$RUNS/real.jsonl
fi

train --config smollm2_policy --workdir "$RUNS/policy" "$REAL"
# keep NAME WHERE: an adapter without the tokenizer, which is the base's.
keep() { cp "$RUNS/$1"/model/adapter_* "$RUNS/$1/model/toolprm_contract.json" "$HERE/$2/"; }
keep policy policy

# What the reward model learns from: of the corpus the policy's own completions, and of every query
# the gold and near misses, which cost no sampling.
annotated() { make "$RUNS/$2_steps.jsonl" run toolprm_jax.annotation.annotate \
    --records "$RUNS/$1.jsonl" --format record --rollouts "$RUNS/$2.jsonl" \
    --out "$RUNS/$2_steps.jsonl" --stats "$RUNS/$2_stats.json"; }
sampled() { run search.commands.rollout --model "${4:-embedded:policy}" --records "$RUNS/$1.jsonl" \
    --format record --num "$2" --temperature "$3" --max-tokens 160 --batch-size "$BATCH" \
    --max-lanes "$LANES" --max-shapes 1 --seed 1 --out "$RUNS/$1_sampled.jsonl"
  annotated "$1" "$1_sampled"; }
mistakes=wrong_value,missing_parameter,extra_parameter,wrong_name,swapped_values
mistakes=$mistakes,duplicated_call,dropped_call,extra_call
sampled corpus 6 0.9
sampled heldout 8 0.8
missed() { make "$RUNS/$2.jsonl" run toolprm_jax.annotation.corrupt --records "$RUNS/$1.jsonl" \
    --format record --num 12 --gold-share 0.25 --seed 1 --mistakes "$mistakes" --out "$RUNS/$2.jsonl"
  annotated "$1" "$2"; }
missed judged made
cat "$RUNS"/corpus_sampled_steps.jsonl "$RUNS"/made_steps.jsonl > "$RUNS/judged_steps.jsonl"

# judge NAME GRANULARITY SIBLINGS DATA [SETTING...]
judge() { train --config "smollm2_prm:$2" --workdir "$RUNS/$1" --config.sibling_weight="$3" \
  --config.data.records="$RUNS/$4.jsonl" --config.data.steps="$RUNS/$4_steps.jsonl" "${@:5}" \
  --config.data.heldout_records="$RUNS/heldout.jsonl" \
  --config.data.heldout_steps="$RUNS/heldout_sampled_steps.jsonl"; }
judge siblings toolprm 1.0 judged
judge toolprm toolprm 0.0 judged
judge orm orm 0.0 judged
judge cprm cprm 0.0 judged
keep siblings prm

# With UNSEEN=1 and DATA, three reward models more, from completions of tools that their policy was
# not taught; see CHECKPOINTS.md.
[ -n "${UNSEEN:-}" ] || exit 0
corpus corpus_unseen unseen 3 500 6 0.67
varied real_taught 8 0.2 1 taught
varied real_unseen 4 0.25 9 unseen
train --config smollm2_policy --workdir "$RUNS/taught" --config.steps=350 \
  --config.data.split=taught --config.data.records="$RUNS/real_taught.jsonl"
for part in corpus_unseen real_unseen; do sampled $part 6 1.0 "$RUNS/taught/model"; done
cat "$RUNS"/{corpus,real}_unseen.jsonl > "$RUNS/unseen.jsonl"
missed unseen made_unseen
cat "$RUNS"/{corpus,real}_unseen_sampled_steps.jsonl "$RUNS/made_unseen_steps.jsonl" > "$RUNS/unseen_steps.jsonl"
start=("--config.init=$RUNS/taught/model" --config.steps=260)
judge siblings_unseen toolprm 1.0 unseen "${start[@]}"
judge orm_unseen orm 0.0 unseen "${start[@]}"
judge cprm_unseen cprm 0.0 unseen "${start[@]}"
