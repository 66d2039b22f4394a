"""The pages say what the files in results/ say."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.report.tables import write_json
from search.studies.page import PAGES, TABLES, filled, main
from toolprm_jax.records.types import DataError

ROOT = Path(__file__).resolve().parents[3]


def test_the_tables_are_those_of_the_files() -> None:
    pages = [(ROOT / page).read_text(encoding="utf-8") for page in PAGES]
    assert [filled(page, ROOT / "results") for page in pages] == pages
    assert all(f"<!-- table: {name} -->" in "".join(pages) for name in TABLES)


def test_a_page_is_filled_and_keeps_its_text(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Hm\n<!-- table: judges -->\nold\n<!-- end -->\nafter\n")
    keys = ("loss", "accuracy", "trajectory_accuracy", "auc", "ece", "first_error_accuracy")
    row = {**dict.fromkeys(keys, 0.25), "no_error_accuracy": 1, "trajectories": 1234}
    write_json(tmp_path / "table_a.json", {"orm/corpus": row})
    assert main(["--results", str(tmp_path), "--pages", str(page)]) == 0
    text = page.read_text()
    assert "old" not in text
    assert text.startswith("# Hm\n")
    assert text.endswith("\nafter\n")
    assert "| corpus | orm | 1,234 | 0.250 |" in text
    with pytest.raises(DataError, match="found 'nope'"):
        filled("<!-- table: nope -->\n<!-- end -->", tmp_path)
