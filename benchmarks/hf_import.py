"""Memory and time of reading a Hugging Face checkpoint: one JSON line on standard output.

    python benchmarks/hf_import.py [--quick] [--folder DIR] [--repeats N]

Writes bfloat16 files of Qwen2.5-3B's shape (6.2 GB in two shards; with --quick a few layers of it),
then reads them alternately with `load_model` and, where torch is installed, with transformers
(whose weights stay mapped, so each is touched once), each time in a fresh process.
`peak_above_arrays_gb` is the most anonymous memory beyond the process before reading and the arrays
themselves; mapped pages of the files don't count.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import math
import statistics
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np

from toolprm_jax.model import DecoderConfig, abstract_params
from toolprm_jax.model.files import CONFIG_FILE, INDEX_FILE, config_to_hf, stored_shapes

SHAPE = DecoderConfig(  # Qwen2.5-3B, which Hammer2.1-3b has too
    vocab_size=151_936,
    hidden_size=2048,
    intermediate_size=11_008,
    num_layers=36,
    num_heads=16,
    num_kv_heads=2,
    head_dim=128,
    tie_embeddings=True,
)
QUICK = replace(SHAPE, num_layers=4, vocab_size=16_384)
SHARDS = 2
_BLOCK = np.random.default_rng(0).integers(0x3C00, 0x3D00, 1 << 22).astype("<u2").tobytes()

_WATCH = """
import json, sys, threading, time
def anonymous():
    with open("/proc/self/status") as file:
        return next(1024 * int(line.split()[1]) for line in file if line.startswith("RssAnon"))
def watched(read):
    peak, done = [0], threading.Event()
    def watch():
        while not done.wait(0.005):
            peak[0] = max(peak[0], anonymous())
    thread = threading.Thread(target=watch)
    before, start = anonymous(), time.perf_counter()
    thread.start()
    size = read()
    seconds = time.perf_counter() - start
    done.set()
    thread.join()
    print(json.dumps([seconds, max(peak[0], anonymous()) - before, size]))
"""
_PROGRAMS = {
    "ours": """
import jax
from toolprm_jax.model.files.hf import load_model
jax.block_until_ready(jax.numpy.zeros(1) + 1)
def read():
    global kept
    kept = jax.block_until_ready(load_model(sys.argv[1], dtype="bfloat16"))
    return sum(leaf.nbytes for leaf in jax.tree.leaves(kept[1]))
watched(read)
""",
    "transformers": """
import torch
from transformers import AutoModelForCausalLM
def read():
    global kept
    kept = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=torch.bfloat16)
    # What is mapped from the files is read at first use; ours is in memory, so theirs must be.
    for tensor in kept.parameters():
        tensor.sum()
    return sum(tensor.nbytes for tensor in kept.parameters())
watched(read)
""",
}


def write_checkpoint(folder: Path, config: DecoderConfig) -> int:
    """Writes files of that shape, never more than a block of them in memory; returns their size."""
    folder.mkdir()
    (folder / CONFIG_FILE).write_text(json.dumps(config_to_hf(config, "bfloat16", None)))
    shapes = stored_shapes(abstract_params(config))
    total = 2 * sum(math.prod(shape) for shape in shapes.values())
    parts: list[dict[str, tuple[int, ...]]] = [{}]
    written = 0
    for name, shape in shapes.items():
        if written > total * len(parts) / SHARDS:
            parts.append({})
        parts[-1][name] = shape
        written += 2 * math.prod(shape)
    weight_map = {}
    for number, part in enumerate(parts, 1):
        file_name = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        header, offset = {}, 0
        for name, shape in part.items():
            end = offset + 2 * math.prod(shape)
            header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": [offset, end]}
            offset = end
        weight_map |= dict.fromkeys(part, file_name)
        text = json.dumps(header).encode()
        text += b" " * (-len(text) % 8)
        with (folder / file_name).open("wb") as file:
            file.write(len(text).to_bytes(8, "little") + text)
            while offset:
                offset -= file.write(_BLOCK[:offset])
    (folder / INDEX_FILE).write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": weight_map})
    )
    return total


def read_checkpoint(folder: Path, reader: str) -> tuple[float, int, int]:
    """Seconds, peak of anonymous bytes and bytes of the arrays of one read in a fresh process."""
    done = subprocess.run(
        [sys.executable, "-c", _WATCH + _PROGRAMS[reader], str(folder)],
        stdout=subprocess.PIPE,
        check=True,
        text=True,
    )
    return tuple(json.loads(done.stdout))


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="smaller sizes, under a minute")
    parser.add_argument("--folder", help="where the files are written (default: a temporary one)")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    config = QUICK if args.quick else SHAPE
    readers = ["ours"]
    if importlib.util.find_spec("torch"):
        readers.append("transformers")
    found: dict[str, list[tuple[float, int, int]]] = {reader: [] for reader in readers}
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        folder = Path(name) / "model"
        size = write_checkpoint(folder, config)
        for repeat in range(args.repeats):
            for reader in readers:
                result = read_checkpoint(folder, reader)
                found[reader].append(result)
                print(f"{repeat} {reader}: {result}", file=sys.stderr)
    seconds, peaks, arrays = zip(*found["ours"], strict=True)
    out = {
        "peak_above_arrays_gb": round((max(peaks) - arrays[0]) / 1e9, 3),
        "arrays_gb": round(arrays[0] / 1e9, 3),
        "files_gb": round(size / 1e9, 3),
        "seconds": round(statistics.median(seconds), 2),
        "repeats": args.repeats,
    }
    if len(readers) == 2:
        theirs = [result[0] for result in found["transformers"]]
        out["time_vs_transformers"] = round(statistics.median(theirs) / out["seconds"], 2)
    print(json.dumps(out))


if __name__ == "__main__":
    main()
