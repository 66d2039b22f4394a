"""Kinds of bad input to every command: one line that says what is wrong, and status 2."""

from __future__ import annotations

import importlib
import shlex
from pathlib import Path

import pytest
from bad_files import ANSWERS, MODELS, RECORDS, ROLLOUTS, write_bad_files

MODULES = {
    "mask": "toolprm_jax.masking.mask",
    "corrupt": "toolprm_jax.annotation.corrupt",
    "annotate": "toolprm_jax.annotation.annotate",
    "rollout": "search.commands.rollout",
    "score": "search.commands.score",
    "search": "search.commands.search",
    "ask": "search.commands.ask",
    "evaluate": "search.commands.evaluate",
    "export": "toolprm_jax.model.files.export",
    "train": "train.main",
    "compare": "search.studies.compare",
    "demo": "search.studies.demo",
}
# What stands before the arguments below.
START = {
    "corrupt": "--records good.jsonl --out o",
    "mask": "--records good.jsonl --out o",
    "annotate": "--records good.jsonl --rollouts rolls.jsonl --out o",
    "rollout": "--records good.jsonl --out o --model embedded:policy",
    "score": "--records good.jsonl --rollouts rolls.jsonl --out o --prm embedded:prm",
    "search": "--records good.jsonl --out o --policy embedded:policy --prm embedded:prm",
    "ask": "",
    "evaluate": "--records good.jsonl --answers answers.jsonl",
    "export": "--checkpoint embedded:prm --out e",
    "train": "--workdir w",
    "compare": "--runs r",
    "demo": "--out o",
}
_WHOLE = "expected an integer >= 1"
_PLACE = "expected a place for a file"
LINES: list[tuple[str, str]] = [
    # Files and places that can't be used.
    ("corrupt --records missing", "missing: no such file"),
    ("corrupt --records folder", "folder: expected a file, found a directory"),
    ("corrupt --records loop", "loop: no such file"),
    ("corrupt --records /dev/null", "/dev/null: expected a regular file"),
    ("corrupt --records 'a\x01b'", "a\\x01b: no such file"),
    ("corrupt --records https://host/r.jsonl", "no such file"),
    ("corrupt --out folder", f"--out: folder: {_PLACE}"),
    ("corrupt --out file/o", f"--out: file/o: {_PLACE}, but "),
    ("corrupt --out good.jsonl", "--out: expected another file than --records, found good.jsonl"),
    ("corrupt --out ''", f"--out: : {_PLACE}"),
    ("corrupt --out " + "a" * 300, ": File name too long"),
    ("mask --map o", "--map: expected another file than --out, found o"),
    ("mask --rollouts missing --rollouts-out r", "missing: no such file (expected JSON lines"),
    ("mask --rollouts-out r", "--rollouts: expected completions to write to --rollouts-out"),
    ("annotate --rollouts missing", "missing: no such file (expected JSON lines"),
    ("annotate --rollouts folder", "folder: expected a file, found a directory (expected JSON"),
    ("annotate --rollouts empty", "empty: the file is empty (expected JSON lines"),
    ("annotate --stats o", "--stats: expected another file than --out, found o"),
    ("annotate --picture p.doc", "--picture: expected a .png, .svg or .pdf, found p.doc"),
    ("annotate --tfds-dir file", "file: expected a place for a directory, found a file"),
    ("annotate --rejects rolls.jsonl", "--rejects: expected another file than --rollouts"),
    ("evaluate --answers missing", "missing: no such file"),
    ("evaluate --out folder", f"--out: folder: {_PLACE}"),
    ("evaluate --metric bfcl", "--metric=bfcl: expected BFCL's records, found 2 others"),
    ("search --trace file", "file: expected a place for a directory, found a file"),
    ("search --out good.jsonl", "--out: expected another file than --records, found good.jsonl"),
    ("export --out file", "file: expected a place for a directory, found a file"),
    ("ask q --tools missing", "missing: no such file"),
    ("ask q --tools folder", "folder: Is a directory"),
    ("ask q --tools empty", "empty: expected JSON: Expecting value at column 1"),
    ("ask q --tools utf16", "utf16: expected UTF-8"),
    ("ask q --tools numbers", "numbers: expected JSON: Extra data at line 2"),
    ("compare --out folder", f"--out: folder: {_PLACE}"),
    ("compare --data missing --sets bfcl_simple", "missing/bfcl/BFCL_v4_simple_python.json: no su"),
    ("demo --records missing", "missing: no such file"),
    ("train --config missing.py", "missing.py: no such config file"),
    ("train --config folder", "folder: no such config; expected a file or one of"),
    ("train --config file", "file: no such config; expected a file or one of"),
    ("train --config exits.py", "exits.py: SystemExit: 0"),
    ("train --config good.jsonl", "good.jsonl: expected a Python file with get_config()"),
    # Models that aren't there.
    ("rollout --model missing", "missing: no such model; expected a directory, a GGUF file or"),
    ("score --prm meta-llama/Llama-3-8B", "meta-llama/Llama-3-8B: no such model"),
    ("export --checkpoint embedded:judge", "embedded:judge: no such model"),
    ("rollout --model folder", "folder: no whole checkpoint"),
    ("rollout --model broken.gguf", "broken.gguf: not a whole GGUF file"),
    ("score --prm other.gguf", "other.gguf: not a whole GGUF file: GGUF magic invalid"),
    ("demo --policy missing", "missing: no such model"),
    ("compare --policy missing --sets toolworld", "missing: no such model"),
    # Arguments.
    ("corrupt x", "unrecognized arguments: x"),
    ("corrupt --frobnicate", "unrecognized arguments: --frobnicate"),
    ("corrupt --num", "--num: expected one argument"),
    ("corrupt --format yaml", "--format: invalid choice: 'yaml'"),
    ("corrupt --num 0", f"--num: {_WHOLE} and <= 1048576, found '0'"),
    ("corrupt --num 1e3", f"--num: {_WHOLE} and <= 1048576, found '1e3'"),
    ("corrupt --num " + "9" * 30, f"--num: {_WHOLE} and <= 1048576, at most 2147483647, found 999"),
    ("corrupt --gold-share 2", "--gold-share: expected a number >= 0 and <= 1, found '2'"),
    ("corrupt --gold-share nan", "--gold-share: expected a number >= 0 and <= 1, found 'nan'"),
    ("corrupt --gold-share 1e400", "--gold-share: expected a number >= 0 and <= 1, found '1e400'"),
    ("corrupt --seed x", "--seed: invalid int value: 'x'"),
    ("corrupt --mistakes typo", "--mistakes: expected some of wrong_name"),
    ("corrupt --dress xml", "--dress: invalid choice: 'xml'"),
    ("mask --share -1", "--share: expected a number from 0 to 1, found '-1'"),
    ("mask --share 1e400", "--share: expected a number from 0 to 1, found '1e400'"),
    ("mask --style leet", "--style: invalid choice: 'leet'"),
    ("annotate --workers 0", f"--workers: {_WHOLE}, found '0'"),
    ("annotate --workers -3", f"--workers: {_WHOLE}, found '-3'"),
    ("annotate --split-by luck", "--split-by: invalid choice: 'luck'"),
    ("evaluate --metric rouge", "--metric: invalid choice: 'rouge'"),
    ("rollout --num 0", f"--num: {_WHOLE} and <= 65536, found '0'"),
    ("rollout --temperature -1", "--temperature: expected a number >= 0, found '-1'"),
    ("rollout --temperature nan", "--temperature: expected a number >= 0, found 'nan'"),
    ("rollout --limit 0", f"--limit: {_WHOLE}, found '0'"),
    ("rollout --limit " + "9" * 31, f"--limit: {_WHOLE}, at most 2147483647, found 999"),
    ("rollout --max-tokens 0", f"--max-tokens: {_WHOLE} and <= 1048576, found '0'"),
    ("rollout --batch-size 0", f"--batch-size: {_WHOLE} and <= 65536, found '0'"),
    ("rollout --max-shapes 0", f"--max-shapes: {_WHOLE}, found '0'"),
    ("rollout --seed 9223372036854775808", "--seed: expected an integer >= 0, at most 2147483647"),
    ("rollout --schema prune", "--schema: invalid choice: 'prune'"),
    ("rollout --tensor 0", f"--tensor: {_WHOLE}, found '0'"),
    ("rollout --tensor 99", "tensor: expected at most the "),
    ("rollout --dtype int8", "--dtype: invalid choice: 'int8'"),
    ("rollout --max-lanes 0", f"--max-lanes: {_WHOLE}, found '0'"),
    ("rollout --template gpt", "--template: invalid choice: 'gpt'"),
    ("search --num-beams 0", f"--num-beams: {_WHOLE} and <= 1024, found '0'"),
    ("search --beam-width 2000", f"--beam-width: {_WHOLE} and <= 1024, found '2000'"),
    ("search --top-p 0", "--top-p: expected a number > 0 and <= 1, found '0'"),
    ("search --top-k -1", "--top-k: expected an integer >= 0, found '-1'"),
    ("search --beta nan", "--beta: expected a number, found 'nan'"),
    ("search --pool-size 0", "--pool-size: expected an integer >= 64 and <= 1048576, found '0'"),
    ("search --method magic", "--method: invalid choice: 'magic'"),
    ("search --explore far", "--explore: invalid choice: 'far'"),
    ("search --max-decisions 0", f"--max-decisions: {_WHOLE} and <= 1048576, found '0'"),
    ("search --prompt-tokens 0", f"--prompt-tokens: {_WHOLE} and <= 1048576, found '0'"),
    ("score --row-length 0", f"--row-length: {_WHOLE} and <= 1048576, found '0'"),
    ("score --aggregate max", "--aggregate: invalid choice: 'max'"),
    ("export --dtype int8", "--dtype: invalid choice: 'int8'"),
    ("ask", "expected a query and --tools, or --records"),
    ("ask q", "expected a query and --tools, or --records"),
    ("ask '' --tools tools.json", "expected a query and --tools, or --records"),
    ("ask q --records good.jsonl", "--records: expected neither a query nor --tools beside it"),
    ("ask q --tools tools.json --method magic", "--method: invalid choice: 'magic'"),
    ("compare --sets zz", "--sets: invalid choice: 'zz'"),
    ("compare --sizes 4", "--sizes: expected NxM, as in 4x4, found '4'"),
    ("compare --sizes 0,1", "--sizes: expected NxM, as in 4x4, found '0,1'"),
    ("compare --judges prm", "--judges: expected NAME=MODEL, found 'prm'"),
    ("demo --limit 0", f"--limit: {_WHOLE}, found '0'"),
    ("demo --batch-size 0", f"--batch-size: {_WHOLE}, found '0'"),
    ("train", "the following arguments are required: --config"),
]
# Where the name of the file that is named ends in "|", more may stand before what is wrong with it.
CASES = [
    *((line, 2, says) for line, says in LINES),
    *((f"{command} --records {name}", 2, f"{name}|{says}") for command in ("corrupt", "mask")
      for name, (_, says) in RECORDS.items() if (command, name) != ("mask", "no_answers")),
    *((f"rollout --model {name}", 2, f"{name}{says}") for name, (_, says) in MODELS.items()),
    *((f"evaluate --answers {name}", 2, f"{name}{says}") for name, (_, says) in ANSWERS.items()),
    # Here nothing was to be labelled, which has a status of its own.
    *((f"annotate --rollouts {name}", 1, f"{name}{says}") for name, (_, says) in ROLLOUTS.items()),
    ("annotate --records no_answers", 1, "rolls.jsonl:1: id: "),
]  # fmt: skip


def test_there_are_at_least_a_hundred_kinds() -> None:
    assert len(LINES) + sum(map(len, (RECORDS, ROLLOUTS, ANSWERS, MODELS))) >= 150


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bad")
    write_bad_files(path)
    return path


@pytest.mark.parametrize(("line", "status", "says"), CASES, ids=lambda value: str(value)[:60])
def test_bad_input_is_one_line(
    line: str,
    status: int,
    says: str,
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(folder)
    before = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    name, *argv = shlex.split(line)
    main = importlib.import_module(MODULES[name]).main
    assert main([*shlex.split(START[name]), *argv]) == status
    error = capsys.readouterr().err
    lines = [text for text in error.splitlines() if not text.startswith("[transformers]")]
    assert len(lines) == 1, error
    assert "error: " in error
    named, _, why = says.partition("|")
    assert named in error
    assert why in error
    after = {path: path.read_bytes() for path in folder.iterdir() if path.is_file()}
    # A rejects file may be there, and nothing else.
    made = {path.name for path in after.keys() - before.keys()}
    assert made <= {"o.rejects.jsonl"}
    assert all(after[path] == data for path, data in before.items() if "rejects" not in path.name)
