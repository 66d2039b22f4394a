"""The tutorials: notebooks as they should be stored, and programs that run."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from toolprm_jax.records.types import DataError

NOTEBOOKS = sorted((Path(__file__).resolve().parents[1] / "docs" / "tutorials").glob("*.ipynb"))
# Runs the code cells of a notebook, those for Colab left out, as Jupyter would.
RUN = """
import json, sys

names = {"__name__": "__main__"}
for cell in json.load(open(sys.argv[1], encoding="utf-8"))["cells"]:
    if cell["cell_type"] == "code" and "colab" not in cell["metadata"].get("tags", ()):
        source = "".join(cell["source"])
        try:
            exec(compile(source, cell["id"], "exec"), names)
        except BaseException:
            print(f"cell {cell['id']}:", source, sep="\\n", file=sys.stderr)
            raise
"""
# A user's machine has neither the tests' fake devices nor their compiler's settings.
TESTS_OWN = ("XLA_FLAGS", "JAX_DISABLE_MOST_OPTIMIZATIONS", "JAX_NUMPY_RANK_PROMOTION")
NEED_BASE = {"answer", "train", "serve"}


def test_there_are_tutorials() -> None:
    assert {path.stem for path in NOTEBOOKS} == {"answer", "label", "train", "serve"}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_stored_without_outputs(path: Path) -> None:
    book = json.loads(path.read_text(encoding="utf-8"))
    assert (book["nbformat"], book["nbformat_minor"]) == (4, 5)
    assert book["metadata"]["kernelspec"]["name"] == "python3"
    code = [cell for cell in book["cells"] if cell["cell_type"] == "code"]
    assert not any(cell["outputs"] or cell["execution_count"] for cell in code)
    names = [cell["id"] for cell in book["cells"]]
    assert len(set(names)) == len(names)
    first, *others = code
    assert first["metadata"] == {"tags": ["colab"]}
    assert "%pip install" in "".join(first["source"])
    # The others are run below, without Jupyter.
    assert not any(cell["metadata"] for cell in others)


@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_tutorial_runs(path: Path, tmp_path: Path) -> None:
    if path.stem in NEED_BASE:
        from toolprm_jax.model.files.gguf import smollm2_file

        try:
            smollm2_file()
        except DataError as error:
            pytest.skip(str(error))
    environment = {name: text for name, text in os.environ.items() if name not in TESTS_OWN}
    printed = tmp_path / "printed.txt"
    with printed.open("w") as out:
        process = subprocess.Popen(
            [sys.executable, "-c", RUN, str(path)],
            cwd=tmp_path,
            env=environment,
            stdout=out,
            stderr=out,
            start_new_session=True,
        )
        try:
            process.wait()
        finally:  # a tutorial that failed may have left its server behind
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, printed.read_text()
