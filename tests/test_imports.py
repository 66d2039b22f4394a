"""Which room may import which; see CONTRIBUTING.md."""

from __future__ import annotations

import ast
import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("toolprm_jax", "train", "search", "configs")
FORBIDDEN = {
    "toolprm_jax": {"train", "search", "configs", "benchmarks"},
    "train": {"search", "benchmarks"},
    "search": {"train", "benchmarks"},
}
# JAX, and what is slow to import or must not be needed on an annotation worker.
HEAVY = {"jax", "jaxlib", "flax", "optax", "orbax", "numpy", "transformers", "tokenizers", "grain"}
UNSAFE = {"pickle", "dill", "joblib", "shelve", "marshal"}


def imported_modules(path: Path, source: str | None = None) -> Iterator[tuple[int, str]]:
    """Yields (line, absolute module name) of every import, those inside functions included."""
    package = path.relative_to(ROOT).parent.parts
    tree = ast.parse(path.read_text(encoding="utf-8") if source is None else source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield node.lineno, alias.name
        elif isinstance(node, ast.ImportFrom):
            base = list(package[: len(package) - node.level + 1]) if node.level else []
            module = ".".join([*base, *([node.module] if node.module else [])])
            for alias in node.names:
                yield node.lineno, f"{module}.{alias.name}" if module else alias.name


def violations(paths: list[Path], forbidden: set[str]) -> list[str]:
    return [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in paths
        for line, module in imported_modules(path)
        if module.split(".")[0] in forbidden
    ]


def files_of(*folders: str) -> list[Path]:
    found = sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))
    assert found, f"no Python files under {folders}"
    return found


def test_the_walk_sees_every_form_of_import() -> None:
    source = "\n".join(
        [
            "import train",
            "import os.path as p",
            "from search.core.beam import x",
            "def f():\n    from . import labels",
            "from ..tokens import tree",
        ]
    )
    path = ROOT / "toolprm_jax" / "annotation" / "x.py"
    assert [module for _, module in sorted(imported_modules(path, source))] == [
        "train",
        "os.path",
        "search.core.beam.x",
        "toolprm_jax.annotation.labels",
        "toolprm_jax.tokens.tree",
    ]


@pytest.mark.parametrize("room", sorted(FORBIDDEN))
def test_rooms_do_not_import_each_other(room: str) -> None:
    assert violations(files_of(room), FORBIDDEN[room]) == []


def test_configs_import_only_ml_collections_and_each_other() -> None:
    allowed = {"__future__", "ml_collections", "configs"}
    found = [
        f"{path.relative_to(ROOT)}:{line} imports {module}"
        for path in files_of("configs")
        for line, module in imported_modules(path)
        if module.split(".")[0] not in allowed
    ]
    assert found == []


def test_no_module_reads_pickles() -> None:
    assert violations(files_of(*ROOMS), UNSAFE) == []


# What prepares data sets and runs on clusters; NumPy comes with the packages that they are for.
WITH_NUMPY = {"dataset": "tensorflow_datasets", "beam": "apache_beam"}


def annotation_files(*, with_numpy: bool) -> list[Path]:
    found = files_of("toolprm_jax/annotation")
    return [path for path in found if (path.stem in WITH_NUMPY) == with_numpy]


@pytest.mark.parametrize("with_numpy", [False, True])
def test_annotation_names_no_heavy_import(with_numpy: bool) -> None:
    forbidden = HEAVY - {"numpy"} if with_numpy else HEAVY
    assert violations(annotation_files(with_numpy=with_numpy), forbidden) == []


@pytest.mark.parametrize("with_numpy", [False, True])
def test_annotation_loads_no_heavy_module(with_numpy: bool) -> None:
    modules = [
        ".".join(path.relative_to(ROOT).with_suffix("").parts)
        for path in annotation_files(with_numpy=with_numpy)
        if path.stem not in {"__init__", "__main__"}
        and (not with_numpy or importlib.util.find_spec(WITH_NUMPY[path.stem]))
    ]
    forbidden = HEAVY - {"numpy"} if with_numpy else HEAVY
    program = "\n".join(
        [
            "import importlib, sys",
            f"for name in {modules!r}: importlib.import_module(name)",
            f"print(*sorted({forbidden!r} & {{name.split('.')[0] for name in sys.modules}}))",
        ]
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == []
