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


# What each room of a package may import of it, besides itself; see docs/architecture.md.
_LIBRARY = {
    "command": {"records"},
    "cache": set(),
    "progress": set(),
    "grammar": set(),
    "records": {"grammar"},
    "masking": {"grammar", "records", "annotation", "command"},
    "annotation": {"grammar", "records", "command", "progress"},
    "tokens": {"grammar", "records", "annotation", "command"},
    "model": {"grammar", "records", "annotation", "tokens", "command", "cache"},
    "toolworld": {"grammar", "records", "masking", "annotation", "tokens", "model", "command"},
    "plan": {"records", "tokens", "model", "toolworld", "command"},
}
_CORE = {"grammar", "core"}
_HOST = {*_CORE, "decoder", "methods", "report"}
_SEARCH = {
    "grammar": set(),
    "core": {"grammar"},
    "decoder": _CORE,
    "methods": {*_CORE, "decoder"},
    "report": set(),
    "host": _HOST,
    "serve": {"grammar", "core", "host"},
    "commands": {*_HOST, "host", "serve"},
    "studies": {*_HOST, "host"},
}
ARROWS = {"toolprm_jax": _LIBRARY, "search": _SEARCH}
# Where the embedded models lie: paths alone, which loading a model by name needs.
EXCEPTIONS = {("toolprm_jax/model/files/loading.py", "toolprm_jax.toolworld.embedded")}


def room_of(module: str) -> tuple[str, str]:
    """Package and room of a module's absolute name; the room is "" for the package's face."""
    parts = module.split(".")
    return parts[0], parts[1] if len(parts) > 1 and parts[1] in ARROWS.get(parts[0], {}) else ""


def crossings(package: str) -> Iterator[tuple[Path, int, str]]:
    """Imports of one room of a package in another: file, line, absolute name."""
    for path in files_of(package):
        here = room_of(".".join(path.relative_to(ROOT).with_suffix("").parts))[1]
        for line, module in imported_modules(path):
            if room_of(module)[0] == package and here and room_of(module)[1] != here:
                yield path, line, module


@pytest.mark.parametrize("package", sorted(ARROWS))
def test_rooms_import_only_those_below(package: str) -> None:
    found = []
    for path, line, module in crossings(package):
        name = str(path.relative_to(ROOT))
        here = path.relative_to(ROOT).with_suffix("").parts[1]
        if (name, module.rpartition(".")[0]) in EXCEPTIONS:
            continue
        if room_of(module)[1] not in ARROWS[package][here]:
            found.append(f"{name}:{line} imports {module}")
    assert found == []


@pytest.mark.parametrize("package", [*sorted(ARROWS), "train", "benchmarks"])
def test_rooms_are_entered_by_their_face(package: str) -> None:
    """What another room may use, its `__init__.pyi` lists."""
    found = []
    for path in files_of(package):
        mine = ".".join(path.relative_to(ROOT).parts[:2]) if package in ARROWS else package
        for line, module in imported_modules(path):
            top, room = room_of(module)
            depth = len(module.split("."))
            sub = module.startswith("toolprm_jax.model.files.")
            entered = room and depth > 3 + sub and f"{top}.{room}" != mine
            is_package = (ROOT / top / room).is_dir()
            name = (str(path.relative_to(ROOT)), module.rpartition(".")[0])
            if entered and is_package and name not in EXCEPTIONS:
                found.append(f"{path.relative_to(ROOT)}:{line} imports {module}")
    assert found == []


def test_no_face_hides_a_module() -> None:
    """Python binds an imported module to its package, in the place of what bears its name."""
    for face in (path for room in ROOMS for path in (ROOT / room).rglob("__init__.pyi")):
        names = {module.rpartition(".")[2] for _, module in imported_modules(face)}
        modules = {path.stem for path in face.parent.iterdir() if path.stem != "__init__"}
        assert names.isdisjoint(modules), face


def test_the_embedded_paths_import_nothing() -> None:
    path = ROOT / "toolprm_jax" / "toolworld" / "embedded.py"
    assert {module for _, module in imported_modules(path)} == {
        "__future__.annotations",
        "pathlib.Path",
    }


def test_no_room_looks_into_another_by_path() -> None:
    found = [
        str(path.relative_to(ROOT))
        for path in files_of(*ROOMS)
        if ".parent.parent" in (text := path.read_text(encoding="utf-8")) or "parents[" in text
        if "__file__" in text
    ]
    assert found == []


def test_the_faces_import_no_jax() -> None:
    program = (
        "import sys, toolprm_jax, search\n"
        "toolprm_jax.Record, toolprm_jax.read_records, toolprm_jax.label_completion\n"
        f"print(*sorted({HEAVY!r} & {{name.split('.')[0] for name in sys.modules}}))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout.split()) == (0, []), done.stderr


# What prepares data sets and runs on clusters; NumPy comes with the packages that they are for.
WITH_NUMPY = {"dataset": "tensorflow_datasets", "pipeline": "apache_beam"}
_NO_JAX = ("grammar", "records", "masking", "annotation")
WITHOUT_JAX = tuple(f"toolprm_jax/{room}" for room in _NO_JAX)


def annotation_files(*, with_numpy: bool) -> list[Path]:
    found = [*files_of(*WITHOUT_JAX), ROOT / "toolprm_jax" / "command.py"]
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
