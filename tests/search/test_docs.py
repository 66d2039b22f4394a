"""The program in docs/search.md runs and does what it says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"


def test_a_users_own_models_are_searched(capsys: pytest.CaptureFixture[str]) -> None:
    (block,) = re.findall(r"```python\n(.*?)```", (DOCS / "search.md").read_text(), re.DOTALL)
    exec(compile(block, "docs/search.md", "exec"), {"__name__": "__main__"})
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2
    for line in lines:
        answer, score = line.rsplit(" ", 1)
        assert re.search(r'"arguments": {"a": [17], "b": 2}}]', answer)
        assert float(score) == pytest.approx(0.905, abs=1e-3)
