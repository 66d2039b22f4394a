"""Odd but legal JSON is a record or a reject with a reason: nothing else is ever raised.

`MUTATIONS=1000000 pytest tests/test_mutations.py -s` takes as many; `MUTATION_SEED` chooses others.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from mutations import seeds, write_mutations

from search.grammar.schema import schema_size
from search.grammar.strict_compile import compile_tools
from toolprm_jax.annotation.corruption import corruptions, gold_completion
from toolprm_jax.annotation.labels import label_completion
from toolprm_jax.annotation.split import split_of
from toolprm_jax.masking.masked import mask_record, unmask_calls, unmask_record
from toolprm_jax.records.jsonl import Reject
from toolprm_jax.records.readers import read_records, record_from_json, record_to_json
from toolprm_jax.records.types import DataError, Record
from toolprm_jax.tokens.prompts import TEMPLATES, chat_messages

COUNT = int(os.environ.get("MUTATIONS", "3000"))
SEED = int(os.environ.get("MUTATION_SEED", "0"))
BATCH = 100
SHARED = Path(__file__).resolve().parents[1].parent / "shared" / "cases"
NAMES = [name for name, template in TEMPLATES.items() if not template.own_chat]


def goes_through(record: Record) -> None:
    """Takes a record through everything that reads records."""
    line = json.dumps(record_to_json(record))
    again = record_from_json(json.loads(line))
    assert again == record
    split_of(record)
    for name in NAMES:
        TEMPLATES[name].turns(record)
    chat_messages(record)
    schema_size([record])
    compile_tools(record)
    masked = mask_record(record, 0)
    assert unmask_record(json.loads(json.dumps(masked.map)), masked.record) == record
    if record.answers is None:
        return
    calls = [gold.first() for gold in masked.record.answers or ()]
    unmask_calls(masked.map, calls, record.equality)
    gold = gold_completion(record)
    try:
        wrong = [corruption.text for corruption in corruptions(record, random.Random(0))]
    except DataError:
        wrong = []
    for text in (gold, *wrong[:3]):
        labelled = label_completion(record, text, equivalence=True)
        other = label_completion(masked.record, masked.completion(text), equivalence=True)
        assert [step.label for step in labelled.steps] == [step.label for step in other.steps]


def _keep_reason(said: list[str], reject: Reject) -> None:
    said.append(reject.reason)


@contextlib.contextmanager
def said_by(said: list[str]) -> Iterator[None]:
    """Lets a DataError pass, and nothing else."""
    try:
        yield
    except DataError as error:
        said.append(str(error))


def test_nothing_but_data_errors(tmp_path: Path) -> None:
    files = seeds(SHARED if SHARED.is_dir() else None)
    done = read = 0
    while done < COUNT:
        how = random.Random(f"{SEED}:{done}")
        name = how.choice(sorted(files))
        format, rows = files[name]
        path = write_mutations(tmp_path, name, rows, BATCH, how)
        said: list[str] = []
        records: list[Record] = []
        with said_by(said):  # the answers' file may be at fault
            records.extend(read_records(path, format, partial(_keep_reason, said)))
        for record in records:
            try:
                with said_by(said):
                    goes_through(record)
            except Exception as error:
                error.add_note(f"seed {SEED}:{done}, {json.dumps(record_to_json(record))}")
                raise
        assert all(reason and not re.search(r"[\n\r]", reason) for reason in said), said
        done, read = done + BATCH, read + len(records)
    print(f"{done} mutations, seed {SEED}: {read} records, the others rejected with a reason")
    assert 0.1 < read / done < 2


@pytest.mark.parametrize("text", ["[" * 70 + "]" * 70, "1" * 5000])
def test_what_is_no_json_for_us_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(f'{{"id": "a", "query": "q", "tools": [], "answers": [], "x": {text}}}')
    with pytest.raises(DataError, match=r"nested at most|expected JSON"):
        list(read_records(path, "record"))
