"""best_of_n with 16 samples beside llama.cpp: one JSON line on standard output.

    python benchmarks/llama_cpp.py [--quick]   (needs llama-cpp-python: pip install -e ".[llama]")

Held-out queries, one at a time. Both sides read a prompt once, draw 16 completions below it in
parallel, and have a second model of the same size read them; ours shares what completions begin
with, llama.cpp runs 16 sequences that share the prompt's cache, each token sampled by its own
sampler at the same temperature. llama.cpp has the base model as installed (Q4_1) and as F16; so
that both run the same texts, its drawn tokens are replaced by those that ours drew. Ours is the
embedded pair, float32 and bfloat16. llama.cpp's second model reads no markers, which spares it a
few tokens. Loading and compiling are left out.

`ours_over_llama_cpp` is the ratio of answers per second, each side in its faster form.
"""

from __future__ import annotations

import argparse
import ctypes
import json
import os
import sys
import time
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import jax
import numpy as np
from held_out import held_out

from search import ModelPair, SearchConfig
from search.decoder import prefill
from search.host import make_batches, record_keys
from search.methods import method_config, search
from toolprm_jax.model.files import load, smollm2_file

# This file has the library's name, and its folder would be looked into first.
sys.path.append(sys.path.pop(0))
lib: Any = import_module("llama_cpp")

SAMPLES = 16
CONFIG = SearchConfig(num_beams=4, beam_width=4, max_tokens=96, max_step_tokens=96, pool_size=1024)
PREFILL = jax.jit(prefill, static_argnames="model")
F16 = 1  # llama.cpp's number of the file type


class Spent(NamedTuple):
    """Seconds of a query by part, and the tokens that were drawn for it."""

    prompts: float
    policy: float
    reward: float
    drawn: int


class Script(NamedTuple):
    """A prompt and the completions that are drawn below it, as token ids."""

    prompt: list[int]
    completions: list[list[int]]


def clocked(function: Callable[..., Any], *inputs: Any) -> tuple[Any, float]:
    """What a function returns, and its seconds."""
    start = time.perf_counter()
    found = jax.block_until_ready(function(*inputs))
    return found, time.perf_counter() - start


def ours(pair: ModelPair, count: int) -> tuple[list[Spent], list[Script]]:
    """Each query by our search, and what it drew."""
    assert pair.prm is not None
    programs: list[Any] = []
    spent, scripts = [], []
    for batch in make_batches(pair.policy.codec, held_out(pair.policy.codec, count, 0), 1, 1):
        prompts, keys = batch.prompts, record_keys(0, batch.records)
        reads = [(one.model, one.params, prompts) for one in (pair.policy, pair.prm)]
        if not programs:
            programs = [PREFILL.lower(*each).compile() for each in reads]
        read = [clocked(program, *each[1:]) for program, each in zip(programs, reads, strict=False)]
        policy, prm = (cache for cache, _ in read)
        vote, best = method_config("majority_vote", CONFIG), method_config("best_of_n", CONFIG)
        inputs = [
            (pair.models(guided=False), keys, prompts, vote, (policy, None)),
            (pair.models(guided=True), keys, prompts, best, (policy, prm)),
        ]
        if len(programs) == len(reads):
            programs += [search.lower(*each).compile() for each in inputs]
        (out, drawing), (_, whole) = (
            clocked(program, *each) for program, each in zip(programs[2:], inputs, strict=True)
        )
        beams = zip(*(np.asarray(a[0]) for a in (out.tokens, out.lengths, out.copies)), strict=True)
        completions = [
            tokens[:length].tolist()
            for tokens, length, copies in beams
            for _ in range(copies)
            if length
        ]
        drawn = sum(map(len, completions))
        spent.append(Spent(sum(s for _, s in read), drawing, max(whole - drawing, 0.0), drawn))
        prompt = np.asarray(prompts.tokens[0, : int(prompts.lengths[0])]).tolist()
        scripts.append(Script(prompt, completions))
    return spent, scripts


class Peer:
    """A model in llama.cpp with room for a prompt and its completions."""

    def __init__(self, file: Path) -> None:
        """Loads a GGUF file."""
        self.model = lib.llama_model_load_from_file(
            str(file).encode(), lib.llama_model_default_params()
        )
        params = lib.llama_context_default_params()
        params.n_ctx = params.n_batch = 4096
        params.n_ubatch = 512
        params.n_seq_max = SAMPLES
        params.n_threads = params.n_threads_batch = os.cpu_count() or 1
        params.kv_unified = True  # so that a sequence can share the prompt's cells
        params.no_perf = True
        self.context = lib.llama_init_from_model(self.model, params)
        self.batch = lib.llama_batch_init(params.n_batch, 0, 1)
        self.samplers = [self._sampler(seed) for seed in range(SAMPLES)]

    def _sampler(self, seed: int) -> Any:
        chain = lib.llama_sampler_chain_init(lib.llama_sampler_chain_default_params())
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_temp(CONFIG.temperature))
        lib.llama_sampler_chain_add(chain, lib.llama_sampler_init_dist(seed))
        return chain

    def run(self, tokens: Sequence[tuple[int, int, int]], answered: bool) -> None:
        """Runs (token, position, sequence) each; the last only, or all, have logits."""
        batch = self.batch
        batch.n_tokens = len(tokens)
        for i, (token, position, sequence) in enumerate(tokens):
            batch.token[i], batch.pos[i] = token, position
            batch.n_seq_id[i], batch.seq_id[i][0] = 1, sequence
            batch.logits[i] = answered or i == len(tokens) - 1
        if lib.llama_decode(self.context, batch):
            raise RuntimeError("llama.cpp could not run a batch")

    def read(self, prompt: Sequence[int]) -> None:
        """Empties the cache, and reads a prompt for all sequences."""
        memory = lib.llama_get_memory(self.context)
        lib.llama_memory_clear(memory, True)
        self.run([(token, i, 0) for i, token in enumerate(prompt)], answered=False)
        for sequence in range(1, SAMPLES):
            lib.llama_memory_seq_cp(memory, 0, sequence, -1, -1)

    def draw(self, script: Script) -> None:
        """Samples every completion token by token; the script says what was drawn."""
        for sampler in self.samplers:
            lib.llama_sampler_sample(sampler, self.context, -1)
        for step in range(max(map(len, script.completions)) - 1):
            going = [i for i, each in enumerate(script.completions) if step + 1 < len(each)]
            place = len(script.prompt) + step
            self.run([(script.completions[i][step], place, i) for i in going], answered=True)
            for at, i in enumerate(going):
                lib.llama_sampler_sample(self.samplers[i], self.context, at)

    def judge(self, script: Script) -> None:
        """Reads the completions whole."""
        first = len(script.prompt)
        self.run(
            [
                (token, first + at, i)
                for i, each in enumerate(script.completions)
                for at, token in enumerate(each)
            ],
            answered=False,
        )

    def spent(self, script: Script) -> Spent:
        """A query, as policy and as reward model."""
        _, read = clocked(self.read, script.prompt)
        _, policy = clocked(self.draw, script)
        _, again = clocked(self.read, script.prompt)
        _, reward = clocked(self.judge, script)
        return Spent(read + again, policy, reward, sum(map(len, script.completions)))


def as_f16(source: Path, folder: Path) -> Path:
    """The same model with weights of 16 bits."""
    params, out = lib.llama_model_quantize_default_params(), folder / "f16.gguf"
    params.ftype, params.allow_requantize = F16, True
    if lib.llama_model_quantize(str(source).encode(), str(out).encode(), ctypes.byref(params)):
        raise RuntimeError(f"{source}: llama.cpp could not convert it")
    return out


def row(engine: str, weights: str, spent: Sequence[Spent]) -> dict[str, Any]:
    """A line of the table: means over queries, seconds."""
    prompts, policy, reward, drawn = (sum(column) for column in zip(*spent, strict=True))
    return {
        "engine": engine,
        "weights": weights,
        "answers_per_s": round(len(spent) / (prompts + policy + reward), 4),
        "policy_tokens_per_s": round(drawn / policy, 1),
        "prompts_s": round(prompts / len(spent), 3),
        "policy_s": round(policy / len(spent), 3),
        "reward_s": round(reward / len(spent), 3),
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--quick", action="store_true", help="one query, one form of each side")
    quick = parser.parse_args().quick
    count = 1 if quick else 4
    silent = lib.llama_log_callback(lambda level, text, data: None)
    lib.llama_log_set(silent, ctypes.c_void_p(0))
    lib.llama_backend_init()
    rows, scripts = [], []
    for dtype in ("float32",) if quick else ("bfloat16", "float32"):
        pair = ModelPair(load("embedded:policy", dtype=dtype), load("embedded:prm", dtype=dtype))
        spent, scripts = ours(pair, count)
        rows.append(row("toolprm-jax", dtype, spent))
        print(rows[-1], file=sys.stderr, flush=True)
    with TemporaryDirectory() as folder:
        files = {"Q4_1": smollm2_file()}
        if not quick:
            files["F16"] = as_f16(smollm2_file(), Path(folder))
        for weights, file in files.items():
            peer = Peer(file)
            peer.spent(scripts[0])
            rows.append(row("llama.cpp", weights, [peer.spent(script) for script in scripts]))
            print(rows[-1], file=sys.stderr, flush=True)
    best = {
        engine: max(each["answers_per_s"] for each in rows if each["engine"] == engine)
        for engine in ("toolprm-jax", "llama.cpp")
    }
    found = {
        "ours_over_llama_cpp": round(best["toolprm-jax"] / best["llama.cpp"], 3),
        "queries": count,
        "samples": SAMPLES,
        "rows": rows,
        "llama_cpp_python": lib.__version__,
        "device": jax.devices()[0].device_kind,
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
