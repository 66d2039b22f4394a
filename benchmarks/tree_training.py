"""What training on token trees saves: one JSON line on standard output.

    python benchmarks/tree_training.py [--quick] [--records FILE] [--tokenizer DIR]

The same labelled decisions (9 rollouts a record, 70 % right, the rest with one mistake; Hammer
prompt) are trained three ways: one tree per record, one sequence per trajectory, and one sample per
decision, which is the usual way. The last two are also measured with exact duplicates merged into
one weighted sequence, and the samples, where torch is installed, with a loop of transformers.
Ratios are other / ours, over the same decisions.

Every way runs one sequence at a time, padded to a multiple of 64 tokens, through the same gradient
of the same decoder in float32; nothing is gained or lost by packing. Tokens and FLOPs (those of
train/flops.py, padding not counted) are of all records, times and gradients of the first few. Only
tokens that occur have an embedding row, so that no way pays for a large embedding.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
import optax

from toolprm_jax.annotation import LabelledCompletion, completions, label_completion
from toolprm_jax.model import Decoder, DecoderConfig, init_params, prm_sums
from toolprm_jax.records import Record, read_records
from toolprm_jax.tokens import (
    Codec,
    Marker,
    TokenTree,
    TreeBatch,
    TreeBuilder,
    load_tokenizer,
    make_contract,
    marked_path,
    pack,
    prm_trees,
)
from toolprm_jax.toolworld import TOKENIZER, masked_corpus
from train.flops import training_flops

ROLLOUTS, GOLD_SHARE = 9, 0.7
STEP = 64  # tokens; lengths are padded to a multiple of it, so that few are compiled
WAYS = ("trees", "trajectories", "distinct_trajectories", "samples", "distinct_samples")
SHARED = Path(__file__).resolve().parents[2] / "shared" / "data"
ROOM = 1 << 16  # tokens; more than any record has


class Labelled(NamedTuple):
    """One record with its labelled rollouts, as trees and as token ids."""

    trees: list[TokenTree]
    prompt: list[int]
    marked: list[tuple[list[int], list[Marker]]]


class Measured(NamedTuple):
    """One pass over the timed records."""

    seconds: float
    grads: Any
    weight: float


def labelled(codec: Codec, record: Record) -> Labelled:
    """Makes and labels the rollouts of a record."""
    rollouts = [
        LabelledCompletion(text, found.steps, died=found.error is not None)
        for _, text in completions(record, 0, ROLLOUTS, GOLD_SHARE)
        for found in [label_completion(record, text)]
    ]
    trees, _ = prm_trees(codec, [(record, rollouts)], ROOM)
    return Labelled(trees, codec.prompt(record), [marked_path(codec, each) for each in rollouts])


def chains(items: Iterable[tuple[tuple[int, ...], tuple[Marker, ...]]]) -> list[TokenTree]:
    """Sequences with their markers; equal ones are one whose weights are their number."""
    out = []
    for (path, markers), count in Counter(items).items():
        builder = TreeBuilder()
        nodes = builder.add_path(path)
        for index, token, kind, label in markers:
            for _ in range(count):
                builder.add_marker(nodes[index], token, kind, label)
        out.append(builder.build())
    return out


def sequences(way: str, records: Sequence[Labelled]) -> list[TokenTree]:
    """What one way trains on."""
    out: list[TokenTree] = []
    for record in records:
        start = len(record.prompt)
        trajectories = [
            (
                (*record.prompt, *ids),
                tuple((start + index, *marker) for index, *marker in markers),
            )
            for ids, markers in record.marked
        ]
        samples = [
            (path[: marker[0] + 1], (marker,))
            for path, markers in trajectories
            for marker in markers
        ]
        items: Any = trajectories if way.endswith("trajectories") else samples
        if way == "trees":
            out += record.trees
        elif way.startswith("distinct"):
            out += chains(items)
        else:
            out += [tree for item in items for tree in chains([item])]
    return out


def renumbered(trees: list[TokenTree], ids: np.ndarray) -> list[TokenTree]:
    """The trees with each token as its index among the ids that occur."""
    return [
        tree._replace(tokens=np.searchsorted(ids, tree.tokens).astype(np.int32)) for tree in trees
    ]


def padded_length(tree: TokenTree) -> int:
    """Tokens of a sequence with its padding."""
    return len(tree.tokens) + -len(tree.tokens) % STEP


def make_gradient(
    model: Decoder, label_ids: tuple[int, int], params: Any, lengths: Iterable[int]
) -> dict[int, Callable[..., Any]]:
    """For each length, the compiled step that adds one sequence's gradient and weight."""

    def loss(params: Any, batch: TreeBatch) -> tuple[Any, Any]:
        sums = prm_sums(model, params, batch, label_ids)
        return sums["loss"], sums["weight"]

    def add(total: Any, params: Any, batch: TreeBatch) -> Any:
        (_, weight), grads = jax.value_and_grad(loss, has_aux=True)(params, batch)
        return jax.tree.map(jax.numpy.add, total, (grads, weight))

    step = jax.jit(add, donate_argnums=0)
    start = zeros(params)
    out = {}
    for length in sorted(set(lengths)):
        batch = pack([_empty(length)], length)
        out[length] = step.lower(start, params, batch).compile()
    return out


def _empty(length: int) -> TokenTree:
    builder = TreeBuilder()
    builder.add_path([0] * length)
    return builder.build()


def zeros(params: Any) -> Any:
    """A gradient and a weight of nothing."""
    return jax.tree.map(jax.numpy.zeros_like, params), jax.numpy.float32(0)


def run(steps: dict[int, Any], params: Any, batches: Sequence[TreeBatch]) -> Measured:
    """The mean gradient over some sequences, and how long it took."""
    total = jax.block_until_ready(zeros(params))
    start = time.perf_counter()
    for batch in batches:
        total = steps[batch.tokens.shape[1]](total, params, batch)
    grads, weight = jax.block_until_ready(total)
    seconds = time.perf_counter() - start
    return Measured(seconds, jax.tree.map(lambda g: np.asarray(g / weight), grads), float(weight))


def torch_loop(
    config: DecoderConfig, trees: Sequence[TokenTree], label_ids: tuple[int, int]
) -> Callable[[], float] | None:
    """A loop of transformers on torch over separate samples, 8 at a time; None without torch.

    Samples of like length stand together, and only the last token's logits are computed.
    """
    if importlib.util.find_spec("torch") is None:
        return None
    import torch  # pyright: ignore[reportMissingImports]
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            vocab_size=config.vocab_size,
            hidden_size=config.hidden_size,
            intermediate_size=config.intermediate_size,
            num_hidden_layers=config.num_layers,
            num_attention_heads=config.num_heads,
            num_key_value_heads=config.num_kv_heads,
            head_dim=config.head_dim,  # pyright: ignore[reportCallIssue]  it takes any
            tie_word_embeddings=config.tie_embeddings,
            bos_token_id=None,
            eos_token_id=None,
        )
    )
    model.train()
    ordered = sorted(trees, key=lambda tree: len(tree.tokens))
    batches = []
    for first in range(0, len(ordered), 8):
        part = ordered[first : first + 8]
        length = max(len(tree.tokens) for tree in part)
        tokens = np.zeros((len(part), length), np.int64)
        mask = np.zeros((len(part), length), np.int64)
        for row, tree in enumerate(part):  # padded on the left, so that all end together
            tokens[row, -len(tree.tokens) :] = tree.tokens
            mask[row, -len(tree.tokens) :] = 1
        targets = [label_ids[int(tree.labels[-1])] for tree in part]
        batches.append(tuple(map(torch.tensor, (tokens, mask, targets))))

    def loop() -> float:
        model.zero_grad()
        start = time.perf_counter()
        for tokens, mask, targets in batches:
            out = model(input_ids=tokens, attention_mask=mask, logits_to_keep=1, use_cache=False)
            loss = torch.nn.functional.cross_entropy(out.logits[:, -1], targets, reduction="sum")
            loss.backward()
        return time.perf_counter() - start

    return loop


def peak_mb(steps: dict[int, Any], batches: Sequence[TreeBatch]) -> float:
    """Memory that the compiled steps need for the longest sequence, arguments included."""
    analysis = steps[max(batch.tokens.shape[1] for batch in batches)].memory_analysis()
    return (analysis.temp_size_in_bytes + analysis.argument_size_in_bytes) / 1e6


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="smaller sizes, under a minute")
    parser.add_argument("--records", help="default: ToolAlpaca's beside the repository, else ours")
    parser.add_argument("--tokenizer", help="default: Qwen2's beside the repository, else ours")
    args = parser.parse_args()
    timed, rounds, torch_share = (2, 1, 8) if args.quick else (6, 2, 4)
    shape = (128, 384, 2) if args.quick else (256, 768, 4)
    there, real = SHARED.is_dir(), SHARED / "toolalpaca" / "toolalpaca_114.json"
    records_file = args.records or (real if there else None)
    tokenizer = load_tokenizer(
        args.tokenizer or (SHARED / "qwen2-tokenizer" if there else TOKENIZER)
    )
    contract = make_contract(tokenizer, len(tokenizer) + 128, "hammer", "toolprm", "label")
    codec = Codec(tokenizer, contract)
    found = read_records(records_file) if records_file else masked_corpus(0, "train", 40)
    records = [labelled(codec, record) for record in islice(found, 12 if args.quick else None)]
    print(f"{len(records)} records of {records_file or 'the embedded corpus'}", file=sys.stderr)

    all_trees = {way: sequences(way, records) for way in WAYS}
    # Times are of records spread over the file, for neighbours are alike.
    chosen = records[:: max(1, len(records) // timed)][:timed]
    some = {way: sequences(way, chosen) for way in WAYS}
    ids = np.unique(np.concatenate([tree.tokens for tree in some["samples"]]))
    ids = np.union1d(ids, contract.label_ids)
    some = {way: renumbered(trees, ids) for way, trees in some.items()}
    first, second = (int(i) for i in np.searchsorted(ids, contract.label_ids))
    label_ids = (first, second)
    config = DecoderConfig(
        vocab_size=len(ids),
        hidden_size=shape[0],
        intermediate_size=shape[1],
        num_layers=shape[2],
        num_heads=shape[0] // 32,
        num_kv_heads=shape[0] // 64,
        head_dim=32,
    )
    params = init_params(config, jax.random.key(0))
    batches = {
        way: [pack([tree], padded_length(tree)) for tree in trees] for way, trees in some.items()
    }
    lengths = {batch.tokens.shape[1] for way in WAYS for batch in batches[way]}
    steps = make_gradient(Decoder(config), label_ids, params, lengths)
    torch_trees = some["samples"][::torch_share]
    torch_run = torch_loop(config, torch_trees, label_ids)

    seconds: dict[str, list[float]] = {way: [] for way in (*WAYS, "torch")}
    last: dict[str, Measured] = {}
    for turn in range(rounds):
        for way in WAYS:
            last[way] = run(steps, params, batches[way])
            seconds[way].append(last[way].seconds)
            print(f"{turn} {way}: {last[way].seconds:.2f} s", file=sys.stderr)
        if torch_run is not None:
            tokens = sum(len(tree.tokens) for tree in torch_trees)
            scale = sum(len(tree.tokens) for tree in some["samples"]) / tokens
            seconds["torch"].append(torch_run() * scale)
            print(f"{turn} torch: {seconds['torch'][-1]:.2f} s (scaled)", file=sys.stderr)

    def tokens_of(way: str) -> int:
        return sum(len(tree.tokens) for tree in all_trees[way])

    def flops_of(way: str) -> float:
        return sum(
            training_flops(
                config,
                len(tree.tokens),
                float(np.sum(tree.positions + 1, dtype=np.int64)),
                2 * int(np.count_nonzero(tree.weights)),
            )
            for tree in all_trees[way]
        )

    ours, time_ours = last["trees"], statistics.median(seconds["trees"])

    def difference(way: str) -> float:
        norm: Any = optax.tree.norm
        apart = jax.tree.map(np.subtract, ours.grads, last[way].grads)
        return float(norm(apart) / norm(last[way].grads))

    result: dict[str, Any] = {}
    for kind, value in (("tokens", tokens_of), ("flops", flops_of)):
        for way in WAYS[1:]:
            result[f"{kind}_vs_{way}"] = round(value(way) / value("trees"), 2)
    for way in WAYS[1:]:
        result[f"time_vs_{way}"] = round(statistics.median(seconds[way]) / time_ours, 2)
    torch_seconds = seconds["torch"]
    decisions = sum(len(markers) for record in records for _, markers in record.marked)
    result |= {
        "time_vs_torch_samples": round(statistics.median(torch_seconds) / time_ours, 2)
        if torch_seconds
        else None,
        "max_rel_grad_diff": max(difference(way) for way in WAYS[1:]),
        "distinct_rollouts": round(
            float(np.mean([len({tuple(ids) for ids, _ in r.marked}) for r in records])), 2
        ),
        "seconds_per_1000_decisions": {
            way: round(1000 * statistics.median(seconds[way]) / ours.weight, 3)
            for way in (*WAYS, "torch")
            if seconds[way]
        },
        "peak_mb": {way: round(peak_mb(steps, batches[way]), 1) for way in WAYS},
        "tokens_per_record": {way: round(tokens_of(way) / len(records)) for way in WAYS},
        "records": len(records),
        "timed_records": len(chosen),
        "decisions": decisions,
        "rollouts": ROLLOUTS,
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(params)),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main()
