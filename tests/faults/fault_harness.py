"""Breaks commands: kills them at random moments, fills the disk, damages what they read."""

from __future__ import annotations

import os
import random
import shutil
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from fault_cases import Case
from quick_compiling import xla_flags

ROOT = Path(__file__).resolve().parents[2]
# No file may grow beyond so many bytes: what a full disk does, without one.
_LIMITED = """
import resource, runpy, sys
limit = int(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
sys.argv = sys.argv[2:]
runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
"""
DAMAGES = ("flipped bit", "cut", "missing")


def _environment(programs: Path) -> dict[str, str]:
    """Of a command; compiled programs are kept in a folder, which kills reach too."""
    ours = {
        "JAX_PLATFORMS": "cpu",
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
        "XLA_FLAGS": xla_flags(),
    }
    cache = {
        "JAX_COMPILATION_CACHE_DIR": str(programs),
        "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0",
    }
    return {**os.environ, **ours, **cache, "OMP_NUM_THREADS": "1"}


class Trial:
    """A command with its inputs, and what it gives when nothing breaks."""

    def __init__(self, case: Case, inputs: Path, folder: Path) -> None:
        self.case, self._inputs, self._folder = case, inputs, folder
        for _ in range(2):  # the first compiles, which none does that is killed
            start = time.perf_counter()
            status, error = self.run(self._fresh())
            assert status == 0, error
            self.seconds = time.perf_counter() - start
        self.expected = self.outputs()
        self.largest = max(path.stat().st_size for path in self._out.rglob("*") if path.is_file())

    @property
    def _out(self) -> Path:
        return self._folder / self.case.name

    def _fresh(self) -> Path:
        shutil.rmtree(self._out, ignore_errors=True)
        self._out.mkdir(parents=True)
        return self._inputs

    def _command(self, inputs: Path) -> list[str]:
        argv = [text.format(inputs=inputs, out=self._out) for text in self.case.argv]
        return [self.case.module, *argv]

    def run(self, inputs: Path, limit: int | None = None) -> tuple[int, str]:
        """Runs the command to its end; its exit status and standard error."""
        command = ["-m", *self._command(inputs)]
        if limit is not None:
            command = ["-c", _LIMITED, str(limit), *command[1:]]
        done = subprocess.run(
            [sys.executable, *command],
            cwd=ROOT,
            env=_environment(self._folder / "programs"),
            capture_output=True,
            text=True,
            check=False,
        )
        return done.returncode, done.stderr

    def outputs(self) -> dict[str, Any]:
        """What lies in the output folder, by path; what is left over of the work included."""
        files = [path for path in sorted(self._out.rglob("*")) if path.is_file()]
        found = {str(path.relative_to(self._out)): self.case.compare(path) for path in files}
        return {name: value for name, value in found.items() if value is not None}

    def kill(self, moment: float) -> str:
        """Kills the command after so many seconds and runs it again; what came of it."""
        self._fresh()
        with subprocess.Popen(
            [sys.executable, "-m", *self._command(self._inputs)],
            cwd=ROOT,
            env=_environment(self._folder / "programs"),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        ) as process:
            try:
                process.wait(moment)
                return "ended before"
            except subprocess.TimeoutExpired:
                process.kill()
        return self._again()

    def fill(self, limit: int) -> str:
        """Lets no file grow beyond a limit, then runs again without one; what came of it."""
        self._fresh()
        status, error = self.run(self._inputs, limit)
        if status == 0:
            return "had room"
        told = _one_line(error) and str(self._folder) in error
        again = self._again()
        return again if told else f"not told: {error.strip().splitlines()[-1:]}"

    def _again(self) -> str:
        whole = self.outputs() == self.expected
        status, error = self.run(self._inputs)
        if whole and status != 0 and _one_line(error) and self.outputs() == self.expected:
            return "whole, and kept"  # an output that is no file is not written over
        if status != 0:
            return f"the rerun failed: {error.strip().splitlines()[-1:]}"
        found = self.outputs()
        if found == self.expected:
            return "as unbroken"
        differ = sorted(k for k in found | self.expected if found.get(k) != self.expected.get(k))
        return f"differs: {differ}"

    def damage(self, name: str, how: str, rng: random.Random) -> str:
        """Damages one file that the command reads; what came of it."""
        self._fresh()
        inputs = self._folder / f"{self.case.name}.inputs"
        shutil.rmtree(inputs, ignore_errors=True)
        shutil.copytree(self._inputs, inputs)
        _damage(inputs / name, how, rng)
        status, error = self.run(inputs)
        if status == 0:
            found = self.outputs()
            if found == self.expected:
                return "as unbroken"
            told = any(k.endswith("rejects.jsonl") and v for k, v in found.items())
            return "row rejected" if told or "left out" in error else "another input"
        if not _one_line(error):
            return f"traceback: {error.strip().splitlines()[-1:]}"
        names = (Path(name).name, str(inputs / name), str((inputs / name).parent))
        return "named" if any(each in error for each in names) else f"unnamed: {error.strip()}"


def _one_line(error: str) -> bool:
    """Whether a command said why it stopped, without a traceback."""
    return "Traceback" not in error and ": error: " in error


def _damage(path: Path, how: str, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    if how == "missing":
        path.unlink()
        return
    place = rng.randrange(len(data))
    if how == "cut":
        del data[place:]
    else:
        data[place] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def files_read(case: Case, inputs: Path) -> Iterator[str]:
    """The files that a command reads, below its inputs."""
    for name in case.reads:
        path = inputs / name
        found = [path] if path.is_file() else sorted(p for p in path.rglob("*") if p.is_file())
        yield from (str(each.relative_to(inputs)) for each in found)


def kills(trial: Trial, count: int, rng: random.Random) -> Counter[str]:
    """What came of kills at random moments."""
    return Counter(trial.kill(rng.uniform(0, trial.seconds)) for _ in range(count))


def full_disks(trial: Trial, count: int, rng: random.Random) -> Counter[str]:
    """What came of random limits to the size of a file."""
    return Counter(trial.fill(rng.randrange(1, trial.largest)) for _ in range(count))


def damages(trial: Trial, inputs: Path, count: int, rng: random.Random) -> dict[str, Counter[str]]:
    """What came of damage, by its kind: `count` times for each file that is read."""
    found: dict[str, Counter[str]] = {how: Counter() for how in DAMAGES}
    for name in files_read(trial.case, inputs):
        for how in DAMAGES:
            for _ in range(1 if how == "missing" else count):
                found[how][trial.damage(name, how, rng)] += 1
    return found
