"""Memory and compilations over long runs: one JSON line on standard output.

    python benchmarks/load.py annotate|score|search [--count N]

One process takes N inputs of the embedded corpus: annotates N trajectories with one worker (and a
quarter of them in another process), scores N completions, or searches N records; the models are
tiny, with random weights. `quarter_mb` is what a quarter of the trajectories took at most. Of the
models' work `compiled` counts the programs that XLA compiled and `warm_s` says when the last one
was there, of `seconds`; `warm_mb`, `middle_mb` and `end_mb` are resident memory then, half way from
there to the end, and at the end.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import jax
from annotate import ROLLOUTS, annotated, write_inputs

from search.commands import score as score_command
from search.commands import search as search_command
from toolprm_jax.model import DecoderConfig, init_params
from toolprm_jax.model.files import save_model
from toolprm_jax.tokens import make_contract
from toolprm_jax.toolworld import corpus_texts, masked_corpus, train_tokenizer

COUNTS = {"annotate": 1_000_000, "score": 20_000, "search": 2_000}
_COMPILED = "/jax/core/compile/backend_compile_duration"
_PAUSE_S = 0.25


def resident_mb() -> float:
    """Resident memory of this process."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**20


def watched(work: Callable[[], int]) -> dict[str, Any]:
    """Runs a command and watches its memory and what it compiles."""
    samples: list[tuple[float, float]] = []
    compiled: list[float] = []
    over = threading.Event()

    def watch() -> None:
        while not over.wait(_PAUSE_S):
            samples.append((time.monotonic(), resident_mb()))

    def listen(event: str, duration_secs: float, **_: str | int) -> None:
        if event == _COMPILED:
            compiled.append(time.monotonic())

    jax.monitoring.register_event_duration_secs_listener(listen)
    watcher = threading.Thread(target=watch)
    start = time.monotonic()
    watcher.start()
    assert work() == 0
    seconds = time.monotonic() - start
    over.set()
    watcher.join()

    warm = max(compiled)

    def at(share: float) -> int:
        moment = warm + share * (samples[-1][0] - warm)
        return round(next(mb for time_, mb in samples if time_ >= moment))

    return {
        "seconds": round(seconds, 1),
        "compiled": len(compiled),
        "warm_s": round(warm - start, 1),
        "warm_mb": at(0),
        "middle_mb": at(0.5),
        "end_mb": at(1),
    }


def save_models(folder: Path) -> None:
    """A tiny policy and a tiny reward model."""
    tokenizer = train_tokenizer(corpus_texts(0, 50))
    config = DecoderConfig(2048, 32, 64, 2, 2, 1, 16)
    for name, granularity in (("policy", None), ("prm", "toolprm")):
        contract = make_contract(tokenizer, config.vocab_size, "compact", granularity)  # type: ignore[arg-type]
        contract = replace(contract, target="label" if granularity else None)
        params = init_params(config, jax.random.key(len(name)))
        save_model(folder / name, config, params, "float32", tokenizer, contract)


def annotate(folder: Path, count: int) -> dict[str, Any]:
    """A quarter of the trajectories, then all, each in a process."""
    records = list(masked_corpus(0, "train", 200))
    found = []
    for number in (count // 4, count):
        paths = write_inputs(folder, records, -(-number // ROLLOUTS))
        found.append(annotated(paths["records"], paths["sampled"], 1))
    quarter, whole = found
    return {
        "trajectories": whole.trajectories,
        "seconds": round(whole.seconds, 1),
        "rate": round(whole.rate),
        "quarter_mb": round(quarter.own_kb / 1024, 1),
        "peak_mb": round(whole.own_kb / 1024, 1),
    }


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("part", choices=COUNTS)
    parser.add_argument("--count", type=int)
    args = parser.parse_args()
    count = args.count or COUNTS[args.part]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        if args.part == "annotate":
            found = annotate(folder, count)
        else:
            save_models(folder)
            each = ROLLOUTS if args.part == "score" else 1
            records = list(masked_corpus(0, "train", 200))
            paths = write_inputs(folder, records, -(-count // each))
            argv = ["--records", paths["records"], "--out", str(folder / "out.jsonl")]
            prm = ["--prm", str(folder / "prm")]
            if args.part == "score":
                argv += [*prm, "--rollouts", paths["distinct"]]
                found = watched(lambda: score_command.main(argv))
            else:
                argv += [*prm, "--policy", str(folder / "policy"), "--max-tokens", "48"]
                argv += ["--num-beams", "2", "--beam-width", "2", "--pool-size", "256"]
                argv += ["--max-shapes", "1"]
                found = watched(lambda: search_command.main(argv))
    print(json.dumps({"part": args.part, "count": count, **found}))


if __name__ == "__main__":
    main()
