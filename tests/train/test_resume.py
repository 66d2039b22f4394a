"""Whole runs: killed and resumed, stopped by SIGTERM, diverging, and misconfigured."""

from __future__ import annotations

import importlib.util
import json
import math
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from etils import epath
from quick_compiling import xla_flags

import train.loop
from toolprm_jax.model.files.checkpoint import absolute_path, newest_valid, restore_params
from toolprm_jax.model.files.hf import load_model
from toolprm_jax.records.types import DataError
from toolprm_jax.tokens.contract import Contract
from train.main import load_config, main, override

ROOT = Path(__file__).resolve().parents[2]
# Runs main() after making the n-th batch on the device send a signal to the process itself.
PROGRAM = """
import os, sys
import train.loop
from train.main import main
at, number = int(sys.argv[1]), int(sys.argv[2])
place, calls = train.loop.to_device, [0]
def to_device(batch, sharding, parts):
    calls[0] += parts > 1  # evaluation has one part
    if calls[0] == at:
        os.kill(os.getpid(), number)
    return place(batch, sharding, parts)
train.loop.to_device = to_device
sys.exit(main(sys.argv[3:]))
"""


def arguments(workdir: Path, tokenizer: Path, *more: str) -> list[str]:
    config = ROOT / "tests" / "support" / "tiny_policy.py"
    return [
        f"--config={config}",
        f"--workdir={workdir}",
        f"--config.tokenizer={tokenizer}",
        *more,
    ]


def start(
    at: int, number: int, *args: str, program: str = PROGRAM
) -> subprocess.CompletedProcess[str]:
    own = {"JAX_PLATFORMS": "cpu", "PYTHONPATH": str(ROOT), "XLA_FLAGS": xla_flags()}
    return subprocess.run(
        [sys.executable, "-c", program, str(at), str(int(number)), *args],
        cwd=ROOT,
        env={**os.environ, **own},
        capture_output=True,
        text=True,
        check=False,
    )


def metrics(workdir: Path) -> list[dict[str, Any]]:
    """The lines of metrics, without what depends on the clock."""
    lines = [json.loads(line) for line in (workdir / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in line.items() if not k.endswith("_s")} for line in lines]


def test_killed_and_stopped_runs_end_bit_for_bit_like_an_unbroken_one(
    tmp_path: Path, tokenizer_dir: Path
) -> None:
    unbroken, broken = tmp_path / "unbroken", tmp_path / "broken"
    done = start(0, 0, *arguments(unbroken, tokenizer_dir))
    assert done.returncode == 0, done.stderr

    done = start(4, signal.SIGKILL, *arguments(broken, tokenizer_dir))
    assert done.returncode == -signal.SIGKILL, done.stderr
    assert not (broken / "model").exists()
    # Counted from the step it resumed at: ends early, with a checkpoint, and without an error.
    done = start(2, signal.SIGTERM, *arguments(broken, tokenizer_dir))
    assert done.returncode == 143, done.stderr
    assert "stopped by SIGTERM after step" in done.stderr
    assert not (broken / "model").exists()
    stopped_at = metrics(broken)[-1]["step"]
    assert stopped_at < 7
    assert (broken / "checkpoints" / str(stopped_at)).is_dir()
    done = start(0, 0, *arguments(broken, tokenizer_dir))
    assert done.returncode == 0, done.stderr
    assert f"resumed at step {stopped_at}" in done.stderr

    _, a = restore_params(unbroken / "checkpoints" / "7")
    _, b = restore_params(broken / "checkpoints" / "7")
    jax.tree.map(np.testing.assert_array_equal, a, b)
    assert [m["step"] for m in metrics(broken)] == list(range(1, 8))
    assert [m["step"] for m in metrics(broken) if "eval_loss" in m] == [4, 7]
    assert metrics(unbroken) == metrics(broken)

    config, model = load_model(unbroken / "model")
    assert config.hidden_size == 16
    flat = jax.tree.leaves(jax.tree.map(lambda x, y: np.abs(x - y).max(), model, a))
    assert max(map(float, flat)) < 0.02  # bfloat16
    assert Contract.load(unbroken / "model") == Contract.load(unbroken / "checkpoints" / "7")


def test_a_full_disk_is_told_in_one_line(tmp_path: Path, tokenizer_dir: Path) -> None:
    """Orbax's threads each have an exception of their own to tell; none of them does."""
    limit = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, 20_000))"
    done = start(0, 0, *arguments(tmp_path, tokenizer_dir), program=f"{limit}\n{PROGRAM}")
    assert done.returncode == 2
    assert "Traceback" not in done.stderr
    told = [line for line in done.stderr.splitlines() if line.startswith("toolprm-train: ")]
    assert [line.partition(str(tmp_path))[1] for line in told] == [str(tmp_path)]


def test_a_tokenizer_that_ends_no_text_is_named(
    tmp_path: Path, tokenizer_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(tokenizer_dir, tmp_path / "tokenizer")
    (tmp_path / "tokenizer" / "tokenizer_config.json").unlink()
    assert main(arguments(tmp_path / "w", tmp_path / "tokenizer")) == 2
    error = f"{tmp_path / 'tokenizer'}: the tokenizer needs an end-of-text token"
    assert error in capsys.readouterr().err


def test_sigterm_during_an_evaluation_leaves_a_checkpoint(
    tmp_path: Path, tokenizer_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evaluate = train.loop._evaluate

    def stopped(*args: Any, **kwargs: Any) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return evaluate(*args, **kwargs)

    monkeypatch.setattr(train.loop, "_evaluate", stopped)
    one_part = ("--config.accumulation=1", "--config.data.rows_per_batch=8")
    more = ("--config.checkpoint_every=100", "--config.eval_every=3")
    assert main(arguments(tmp_path / "w", tokenizer_dir, *one_part, *more)) == 143
    assert [path.name for path in (tmp_path / "w" / "checkpoints").iterdir()] == ["4"]
    assert not (tmp_path / "w" / "model").exists()


def test_a_diverging_run_stops_with_the_step(
    tmp_path: Path, tokenizer_dir: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status = main(
        arguments(
            tmp_path / "w",
            tokenizer_dir,
            "--config.optimizer.learning_rate=1e38",
            "--config.optimizer.warmup_steps=1",
            "--config.accumulation=1",
            "--config.data.rows_per_batch=8",
            "--config.checkpoint_every=100",
            "--config.eval_every=0",
            "--config.log_every=100",
        )
    )
    error = capsys.readouterr().err.splitlines()[-1]
    assert status == 2
    assert "error: step " in error
    assert "diverged" in error
    assert list((tmp_path / "w" / "checkpoints").iterdir()) == []


@pytest.mark.parametrize("where", ["loss", "param_norm", "eval_loss"])
def test_what_is_not_finite_is_never_saved(
    where: str,
    tmp_path: Path,
    tokenizer_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    make, evaluate = train.loop.build_steps, train.loop._evaluate

    def poisoned(*args: Any) -> Any:
        steps = make(*args)

        def step(state: Any, batch: Any) -> Any:
            state, metrics = steps.train(state, batch)
            if where in metrics and int(state.step) == 4:
                metrics = {**metrics, where: jax.numpy.float32(np.nan)}
            return state, metrics

        return steps._replace(train=step)

    def poisoned_evaluation(*args: Any, **kwargs: Any) -> dict[str, float]:
        return evaluate(*args, **kwargs) | ({where: math.inf} if where == "eval_loss" else {})

    monkeypatch.setattr(train.loop, "build_steps", poisoned)
    monkeypatch.setattr(train.loop, "_evaluate", poisoned_evaluation)
    workdir = tmp_path / "w"
    one_part = ("--config.accumulation=1", "--config.data.rows_per_batch=8")
    assert main(arguments(workdir, tokenizer_dir, *one_part)) == 2
    error = capsys.readouterr().err.splitlines()[-1]
    assert f"step 4: {where} {'inf' if where == 'eval_loss' else 'nan'}: the run has" in error
    # The checkpoint of step 2 is whole, and step 4 left none.
    assert [path.name for path in (workdir / "checkpoints").iterdir()] == ["2"]
    restore_params(workdir / "checkpoints")
    assert [line["step"] for line in metrics(workdir)] == [1, 2, 3]


def test_a_relative_workdir_a_profile_and_no_resuming(
    tmp_path: Path,
    tokenizer_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    args = arguments(
        Path("w"),
        tokenizer_dir,
        "--config.accumulation=1",
        "--config.data.rows_per_batch=8",
        "--config.steps=3",
        "--config.tensorboard=true",
        "--profile=2:3",
        "--resume=never",
    )
    assert main(args) == 0
    workdir = tmp_path / "w"
    assert newest_valid(workdir / "checkpoints") == workdir / "checkpoints" / "3"
    assert list((workdir / "profile").rglob("*.xplane.pb"))
    assert list((workdir / "tensorboard").iterdir())
    capsys.readouterr()
    # Any file will do: it may be of another run.
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "notes.txt").write_text("mine")
    (tmp_path / "file").touch()
    assert main([*args, "--workdir=file"]) == 2
    assert f"{tmp_path / 'file'}: expected a place for a directory" in capsys.readouterr().err
    for name in ("w", "other"):
        assert main([*args, f"--workdir={name}"]) == 2
        assert f"{tmp_path / name}: not empty" in capsys.readouterr().err
    assert [path.name for path in (tmp_path / "other").iterdir()] == ["notes.txt"]


def test_a_bucket_stays_a_bucket(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"buckets need gcsfs: pip install .*\[gcs\]"):
        absolute_path("gs://bucket/runs/1")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    path = absolute_path("gs://bucket/runs/1")
    assert str(path / "checkpoints") == "gs://bucket/runs/1/checkpoints"
    assert absolute_path("runs/1") == epath.Path(tmp_path / "runs" / "1")


@pytest.mark.parametrize("text", ["3", "0:2", "5:4", "a:b"])
def test_a_profile_names_first_and_last_step(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--config=x.py", "--workdir=w", f"--profile={text}"]) == 2
    assert "expected FIRST:LAST" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments_", "message"),
    [
        (["--config=nowhere.py"], "nowhere.py: no such config file"),
        ([f"--config={ROOT}/configs/smollm2_policy.py:7b"], "expected no variant, found '7b'"),
        (["--distributed=localhost:1"], "expected auto or HOST:PORT,INDEX,COUNT"),
        (["--config.stepz=3"], "--config.stepz=3: expected --config.KEY=VALUE with a key"),
        (["--config.steps"], "--config.steps: expected --config.KEY=VALUE"),
        (["--config.steps=many"], "--config.steps=many: expected int, found 'many'"),
        (["--config.model.remat=1"], "expected bool, found '1'"),
        (["--config.objective=rl"], "objective: expected one of lm, prm, found 'rl'"),
        (["--config.tokenizer=/nowhere"], "/nowhere: no tokenizer.json"),
        (["--config.steps=0"], "steps: expected an integer from 1 to 2147483647, found 0"),
        (["--config.accumulation=0"], "accumulation: expected an integer from 1"),
        (["--config.log_every=0"], "log_every: expected an integer from 1"),
        (["--config.seed=9223372036854775808"], "seed: expected an integer from 0"),
        ([f"--config.seed={'9' * 6000}"], "expected int, found"),
        ([f"--config.seed={'(' * 9000}"], "expected int, found"),
        (["--config.mesh.tensor=0"], "mesh.tensor: expected an integer from -1"),
        (
            ["--config.granularity=zz"],
            "granularity: expected one of toolprm, cprm, orm, found 'zz'",
        ),
        (["--config.model.dtype=zz"], "model.dtype: expected one of float32"),
        (["--config.model.num_layers=1000000000"], "model: num_layers: expected an integer from 1"),
        (["--config.model.num_heads=0"], "model: num_heads: expected an integer from 1"),
        (["--config.lora.first_layer=99"], "lora.first_layer: expected one of 1 layers, found 99"),
        (["--config.optimizer.b1=2.0"], "optimizer.b1: expected a number from 0.0"),
        (["--config.optimizer.learning_rate=1e400"], "optimizer.learning_rate: expected a number"),
        (
            [
                *("--config.data.row_length=8", "--config.data.rows_per_batch=16"),
                "--config.data.groups=40",
            ],
            "no item fits a row of 8 tokens, the shortest takes ",
        ),
        (["--config.data.eval_items=0"], "data.eval_items: expected at least 1"),
        (["--distributed=localhost:1,3,2"], "expected auto or HOST:PORT,INDEX,COUNT"),
        (["--config.data.rows_per_batch=7"], "data.rows_per_batch: 7 rows don't divide"),
        (["--config.mesh.tensor=3"], "devices"),
        (["--frobnicate"], "unknown argument --frobnicate"),
    ],
)
def test_mistakes_are_one_line(
    arguments_: list[str],
    message: str,
    tmp_path: Path,
    tokenizer_dir: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert main([*arguments(tmp_path / "w", tokenizer_dir), *arguments_]) == 2
    out = capsys.readouterr()
    assert out.out == ""
    (line,) = [line for line in out.err.splitlines() if "error" in line]
    assert line.startswith("toolprm-train: error: ")
    assert message in line


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import nowhere", "ModuleNotFoundError: No module named 'nowhere'"),
        ("def get_config(: pass", "SyntaxError: "),
        ("raise SystemExit(0)", "SystemExit: 0"),
        ("def get_config():\n    return {}[1]", "KeyError: 1"),
        (
            "def get_config():\n    return None",
            "expected get_config() to return a ConfigDict, found No",
        ),
        ("x = 1", "expected a function get_config()"),
        (
            "from ml_collections import ConfigDict\ndef get_config():\n    return ConfigDict()",
            "the config has no key objective",
        ),
    ],
)
def test_mistakes_in_a_config_file_are_one_line(
    program: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.py").write_text(program)
    assert main([f"--config={tmp_path / 'mine.py'}", f"--workdir={tmp_path / 'w'}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message in line


def test_overrides_take_the_type_of_what_they_replace() -> None:
    config = load_config(ROOT / "configs" / "smollm2_policy.py")
    for setting in ("steps=3", "optimizer.learning_rate=1", "model.remat=true", "template=hammer"):
        override(config, f"--config.{setting}")
    assert config.steps == 3
    assert config.optimizer.learning_rate == 1.0
    assert config.model.remat is True
    assert config.template == "hammer"
    with pytest.raises(DataError, match="expected int"):
        override(config, "--config.steps=2.5")
