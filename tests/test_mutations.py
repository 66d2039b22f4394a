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
from typing import Any

import pytest
from mutations import MESSAGES, SEEDS, TOOLS, mutated, seeds, write_mutations

from search.commands.evaluate import read_answers
from search.grammar.schema import schema_size
from search.grammar.strict_compile import compile_tools
from toolprm_jax.annotation.corruption import corruptions, gold_completion
from toolprm_jax.annotation.labels import label_completion
from toolprm_jax.annotation.split import split_of
from toolprm_jax.annotation.steps_file import labelled_from_json
from toolprm_jax.masking.masked import mask_record, unmask_calls, unmask_record
from toolprm_jax.records.jsonl import Reject, read_rollouts, read_rows
from toolprm_jax.records.queries import query_record
from toolprm_jax.records.readers import FORMATS, read_records, record_from_json, record_to_json
from toolprm_jax.records.types import DataError, Record
from toolprm_jax.tokens.prompts import TEMPLATES, chat_messages
from toolprm_jax.tokens.trl import from_trl

COUNT = int(os.environ.get("MUTATIONS", "1500"))
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
    unmask_calls(masked.map, calls)
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


COMPLETION = '[{"name": "f", "arguments": {"a": 1}}]'
PIECES = ['[{"name": "f"', ', "arguments": {"a": 1}', "}}", "]"]
STEP = {"kind": "FUNC_NAME", "end": 13, "label": "+", "prefix": "+"}
OTHERS: dict[str, dict[str, Any]] = {
    "rollouts": {"id": "1", "completions": [COMPLETION, "[]"], "token_ids": [[1, 2], []]},
    "steps": {"id": "1", "completion": COMPLETION, "steps": [STEP], "correct": True, "error": None},
    "answers": {"id": 1, "calls": [{"name": "f", "arguments": {"a": 1}}], "finished": True},
    "trl": {"id": "1", "prompt": "p", "completions": PIECES, "labels": [True] * 4, "steps": 3},
    "query": {"messages": MESSAGES, "tools": TOOLS},
}


def read_other(kind: str, path: Path, said: list[str]) -> None:
    """Reads a file that is no records file, every row of it."""
    reject = partial(_keep_reason, said)
    if kind == "rollouts":
        list(read_rollouts(path, reject))
    elif kind == "answers":
        read_answers(path, reject)
    for row in read_rows(path) if kind in ("steps", "trl", "query") else ():
        with said_by(said):
            if kind == "trl":
                line = from_trl(row)
                labelled_from_json("", json.loads(json.dumps(line)))
                assert (line["completion"], line["id"]) == (
                    "".join(row.value["completions"]),
                    row.id,
                )
            elif kind == "steps":
                labelled_from_json("", row.value if isinstance(row.value, dict) else {})
            elif isinstance(row.value, dict) and row.problem is None:
                messages: Any = row.value.get("messages")
                tools: Any = row.value.get("tools")
                record = query_record(messages, tools)
                assert record.answers is None


def test_nothing_but_data_errors_of_other_files(tmp_path: Path) -> None:
    done = 0
    while done < COUNT:
        how = random.Random(f"{SEED}:{done}:other")
        kind = how.choice(sorted(OTHERS))
        path = tmp_path / "rows.jsonl"
        lines = [json.dumps(mutated(OTHERS[kind], how)) for _ in range(BATCH)]
        path.write_text("\n".join(lines), encoding="utf-8")
        said: list[str] = []
        read_other(kind, path, said)
        assert all(reason and not re.search(r"[\n\r]", reason) for reason in said), said
        done += BATCH
    print(f"{done} mutations of other files, seed {SEED}")


def test_damaged_bytes_are_rows_or_rejects(tmp_path: Path) -> None:
    """Bytes changed, doubled and lost: every row is a record or a reject, none is lost."""
    text = "\n".join(json.dumps(row) for _, rows in SEEDS.values() for row in rows).encode()
    for number in range(COUNT // 100):
        how = random.Random(f"{SEED}:{number}:bytes")
        data = bytearray(text)
        for _ in range(how.randint(1, 6)):
            at = how.randrange(len(data))
            data[at : at + how.randint(0, 2)] = how.choice(
                [
                    b"",
                    b"\0",
                    b"\xff",
                    b"\r",
                    b"\n",
                    b"{",
                    b"}",
                    b'"',
                    b"\\",
                    b"NaN",
                    b"[",
                    b"9" * 400,
                ]
            )
        path = tmp_path / "rows.jsonl"
        path.write_bytes(data)
        for format in FORMATS:
            said: list[str] = []
            if data.startswith(b"["):  # one array, which is read whole or told to be none
                with said_by(said):
                    list(read_records(path, format, partial(_keep_reason, said)))
                continue
            read = list(read_records(path, format, partial(_keep_reason, said)))
            assert len(said) <= len(list(read_rows(path))) <= len(said) + len(read)


@pytest.mark.parametrize("text", ["[" * 70 + "]" * 70, "1" * 5000])
def test_what_is_no_json_for_us_is_said(tmp_path: Path, text: str) -> None:
    path = tmp_path / "r.jsonl"
    path.write_text(f'{{"id": "a", "query": "q", "tools": [], "answers": [], "x": {text}}}')
    with pytest.raises(DataError, match=r"nested at most|expected JSON"):
        list(read_records(path, "record"))
