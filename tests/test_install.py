"""The package as `pip install .` leaves it: not editable, used from another folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
RECORD = {
    "id": "1",
    "query": "Oslo?",
    "tools": [{"name": "weather", "description": "Weather", "parameters": {"city": {}}}],
    "answers": [{"name": "weather", "arguments": {"city": "Oslo"}}],
}
WHERE = """
import configs, search, toolprm_jax, train
from toolprm_jax.toolworld import EMBEDDED
from train.main import load_config
print(toolprm_jax.__file__)
assert all((path / "adapter_model.safetensors").is_file() for path in EMBEDDED.values())
assert load_config("smollm2_prm:orm").granularity == "orm"
assert search.Searcher and toolprm_jax.Tool
"""


@pytest.mark.slow
def test_an_installed_package_works_from_another_folder(tmp_path: Path) -> None:
    site, work = tmp_path / "site", tmp_path / "work"
    work.mkdir()
    source = tmp_path / "source"
    tracked = subprocess.run(
        ["git", "ls-files", "-z", "-co", "--exclude-standard"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    ).stdout.split("\0")
    if not any(tracked):
        pytest.skip("not a git checkout")
    for name in filter(None, tracked):  # building writes beside the sources
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes((ROOT / name).read_bytes())
    install = [sys.executable, "-m", "pip", "install", "--no-deps", "--target", str(site), "."]
    subprocess.run(install, cwd=source, check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": str(site)}

    def python(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, *arguments], cwd=work, env=environment, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert python("-c", WHERE).strip() == str(site / "toolprm_jax" / "__init__.py")
    (work / "records.jsonl").write_text(json.dumps(RECORD) + "\n")
    given = ["--records", "records.jsonl", "--out", "masked.jsonl"]
    python("-m", "toolprm_jax.masking.mask", *given)
    (line,) = (work / "masked.jsonl").read_text().splitlines()
    assert json.loads(line)["tools"][0]["name"] != "weather"
    for module in ("search.commands.ask", "train.main", "toolprm_jax.annotation.annotate"):
        assert "usage:" in python("-m", module, "--help")
