"""The pages say what the files in results/ say."""

from __future__ import annotations

from pathlib import Path

import pytest

from search.report.tables import write_json
from search.studies.figure import sweep
from search.studies.page import PAGES, TABLES, filled, main
from toolprm_jax.records import read_json
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


def test_figure_c_shows_what_grows_beside_what_stays(tmp_path: Path) -> None:
    rows = read_json(ROOT / "results" / "figure_c.json")
    for name in ("toolworld", "bfcl_simple"):
        mine = [row for row in rows if row["dataset"] == name]
        explored = sweep(mine[::-1], "num_beams", "beam_width")
        retained = sweep(mine[::-1], "beam_width", "num_beams")
        assert [(row["num_beams"], row["beam_width"]) for row in explored] == [
            (4, width) for width in (1, 2, 4, 8, 16)
        ]
        assert [(row["num_beams"], row["beam_width"]) for row in retained] == [
            (beams, 4) for beams in (1, 2, 4, 8, 16)
        ]
        for line in (explored, retained):  # more of either costs more
            tokens = [row["policy_tokens"] + row["prm_tokens"] for row in line]
            assert tokens == sorted(tokens)
    picture = tmp_path / "figure.png"
    page = tmp_path / "page.md"
    page.write_text("")
    results = ["--results", str(ROOT / "results")]
    assert main([*results, "--pages", str(page), "--picture", str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")
