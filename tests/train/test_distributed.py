"""Two processes with gloo: the losses of one, and a killed job that goes on."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from quick_compiling import xla_flags

from toolprm_jax.model.files.checkpoint import restore_params

ROOT = Path(__file__).resolve().parents[2]
# Kills itself before the n-th training batch goes to the devices; 0 for never.
PROGRAM = """
import os, signal, sys
import train.loop
from train.main import main
place, calls, at = train.loop.to_device, [0], int(sys.argv[1])
def to_device(*args):
    calls[0] += 1
    if calls[0] == at:
        os.kill(os.getpid(), signal.SIGKILL)
    return place(*args)
train.loop.to_device = to_device
sys.exit(main(sys.argv[2:]))
"""
SETTINGS = {
    "steps": 6,
    "eval_every": 6,
    "accumulation": 1,
    "optimizer.warmup_steps": 1,
    "mesh.fsdp": 2,
    "data.group_size": 12,  # an item fills its row, so that both jobs feed the same rows
}


def launch(workdir: Path, tokenizer: Path, count: int, kill: int = 0) -> list[Any]:
    """Runs a job to its end; returns its processes. `kill` counts the second one's batches."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    env = {**os.environ, "JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT)}
    env["XLA_FLAGS"] = xla_flags(2 // count)
    settings = {**SETTINGS, "tokenizer": tokenizer}
    processes = [
        subprocess.Popen(
            [
                *(sys.executable, "-c", PROGRAM, str(kill if index == 1 else 0)),
                f"--config={ROOT / 'tests' / 'support' / 'tiny_policy.py'}",
                f"--workdir={workdir}",
                *([f"--distributed=127.0.0.1:{port},{index},{count}"] if count > 1 else []),
                *(f"--config.{name}={value}" for name, value in settings.items()),
            ],
            cwd=ROOT,
            env=env,
            stderr=subprocess.PIPE,
            text=True,
        )
        for index in range(count)
    ]
    if kill:
        processes[1].wait()
        processes[0].kill()  # as a launcher does when one of a job's processes has died
    errors = [process.communicate()[1] for process in processes]
    if not kill:
        assert [process.returncode for process in processes] == [0] * count, errors
    return processes


def metrics(workdir: Path) -> list[dict[str, float]]:
    """What doesn't depend on how many processes there are, line by line."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == list(range(1, 7))
    same = ("loss", "grad_norm", "fill")
    return [
        *({name: line[name] for name in same} for line in lines),
        {"eval_loss": lines[-1]["eval_loss"]},
    ]


def test_two_processes_train_as_one_and_go_on_when_one_was_killed(
    tmp_path: Path, tokenizer_dir: Path
) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    launch(one, tokenizer_dir, 1)
    killed = launch(two, tokenizer_dir, 2, kill=4)
    assert killed[1].returncode == -signal.SIGKILL
    launch(two, tokenizer_dir, 2)
    # Each process reads every second item: the same rows in another order.
    for ours, expected in zip(metrics(two), metrics(one), strict=True):
        assert ours == pytest.approx(expected, rel=1e-5), (ours, expected)
    a, b = (restore_params(path / "checkpoints" / "6")[1] for path in (one, two))
    flat = zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True)
    assert max(float(np.abs(x - y).max()) for x, y in flat) < 1e-4
    assert not (two / "model").exists()
