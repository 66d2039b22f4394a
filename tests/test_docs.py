"""The documents speak of what is there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from documents import Block, blocks, check_commands

from toolprm_jax.records.types import DataError

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


COMMANDS = [block for block in blocks() if not block.language]


@pytest.mark.parametrize("block", blocks(), ids=lambda block: block.where)
def test_a_block_is_run_or_says_why_not(block: Block) -> None:
    if block.language in ("json", "text"):
        return
    assert block.language in ("", "python"), block.language
    how, _, what = block.mark.partition(": ")
    if how == "run":
        tests = "\n".join(path.read_text() for path in (ROOT / "tests").rglob("test_*.py"))
        assert f"def {what}(" in tests
        assert f'blocks_run_by("{what}")' in tests
    else:
        assert how == "not run"
        assert what, "expected the reason"


@pytest.mark.parametrize("block", COMMANDS, ids=lambda block: block.where)
def test_commands_are_what_the_programs_take(block: Block) -> None:
    check_commands(block.text)


@pytest.mark.parametrize(
    "text",
    [
        "toolprm-asks query",
        "toolprm-ask query --tool tools.json",
        "toolprm-score \\\n  --prm a --records b --rollouts c --out d  # ok\ntoolprm-score --prm a",
        "for i in 0 1; do toolprm-ask query --method best & done; wait",
        "toolprm-train --config smollm2_prm --config.step=2",
        "toolprm-train --config smollm2_prm --config.granularity=token",
        "toolprm-train --config smollm2 --workdir runs",
        "python -m search.studies.compare --limits 3",
        "python benchmarks/annotate.py --slow",
        "make demos",
        "make demo RECORD=a",
        "pip install 'toolprm-jax[servers]'",
    ],
)
def test_a_command_that_is_wrong_is_found(text: str) -> None:
    with pytest.raises((AssertionError, DataError)):
        check_commands(text)
