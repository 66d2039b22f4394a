"""The documents speak of what is there."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_the_architecture_lists_every_file() -> None:
    text = (ROOT / "docs" / "architecture.md").read_text()
    listed = re.findall(r"^\| `(\S+\.py)` \| \S", text, re.M)
    there = [
        path.relative_to(ROOT).as_posix()
        for package in ("toolprm_jax", "search", "train")
        for path in (ROOT / package).rglob("*.py")
        if path.name != "__init__.py" and "domains" not in path.parts
    ]
    assert sorted(listed) == sorted(there)


def test_links_between_documents_lead_somewhere() -> None:
    tutorials = (ROOT / "docs" / "tutorials").glob("*.ipynb")
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *tutorials):
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if "://" not in target:
                assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_tests_that_documents_name_are_there() -> None:
    tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
    for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")):
        for name in re.findall(r"`(test_\w+)`", page.read_text()):
            assert f"def {name}(" in tests, f"{page.name}: {name}"
