"""Labels against the verdicts of BFCL's own checker on what some 30 language models answered."""

from __future__ import annotations

import json
from pathlib import Path

from toolprm_jax.annotation.labels import label_completion
from toolprm_jax.records.readers import read_records

LEAST_AGREEMENT = 0.997


def test_the_labels_are_the_official_verdicts(shared_data: Path) -> None:
    folder = shared_data / "bfcl-rollouts"
    records = {record.id: record for record in read_records(folder / "records.jsonl")}
    total = agreed = 0
    for line in (folder / "rollouts.jsonl").read_text("utf-8").splitlines():
        row = json.loads(line)
        known: dict[str, bool] = {}
        for text, official in zip(row["completions"], row["official"], strict=True):
            if text not in known:
                known[text] = label_completion(records[row["id"]], text).correct
            total += 1
            agreed += known[text] == official
    assert total == 15_198
    assert agreed / total >= LEAST_AGREEMENT
