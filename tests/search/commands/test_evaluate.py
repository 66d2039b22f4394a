"""Bootstrap intervals, and the command `toolprm-evaluate`."""

from __future__ import annotations

import itertools
import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from search.commands.evaluate import (
    GivenAnswer,
    evaluate,
    main,
    read_answers,
)
from search.report.intervals import bootstrap_interval, bootstrap_statistic, paired_bootstrap
from toolprm_jax.annotation.corruption import gold_calls
from toolprm_jax.records.readers import read_records
from toolprm_jax.records.types import Call, DataError, GoldCall, Record, Tool


def binomial_quantile(n: int, p: float, level: float) -> int:
    """Smallest k with P(X <= k) >= level, by exact summation."""
    total = 0.0
    for k in range(n + 1):
        total += math.comb(n, k) * p**k * (1 - p) ** (n - k)
        if total >= level:
            return k
    return n


@pytest.mark.parametrize(("right", "queries"), [(1, 20), (30, 100), (121, 200), (190, 200)])
def test_interval_is_the_exact_bootstrap_distribution(right: int, queries: int) -> None:
    # Resampling k right answers of n is a binomial draw, whose quantiles are known exactly.
    correct = np.arange(queries) < right
    low, high = bootstrap_interval(correct, seed=1)
    assert abs(low * queries - binomial_quantile(queries, right / queries, 0.025)) <= 1
    assert abs(high * queries - binomial_quantile(queries, right / queries, 0.975)) <= 1


def test_interval_agrees_with_the_enumeration_of_all_resamples() -> None:
    values = np.array([0.0, 1.0, 0.25, 0.6, 0.6])
    means = np.sort([np.mean(sample) for sample in itertools.product(values, repeat=5)])
    low, high = bootstrap_interval(values, seed=4, resamples=40_000, level=0.8)
    # The sampled ends lie between exact quantiles a little further out and a little further in.
    assert np.quantile(means, 0.09) - 1e-9 <= low <= np.quantile(means, 0.11) + 1e-9
    assert np.quantile(means, 0.89) - 1e-9 <= high <= np.quantile(means, 0.91) + 1e-9


def test_intervals_cover_the_truth_as_often_as_they_say() -> None:
    rng = np.random.default_rng(0)
    truth, trials = 0.7, 400
    covered = 0
    for trial in range(trials):
        low, high = bootstrap_interval(rng.random(200) < truth, seed=trial, resamples=1000)
        covered += low <= truth <= high
    assert 0.915 <= covered / trials <= 0.98


def test_paired_intervals_use_the_pairing() -> None:
    rng = np.random.default_rng(5)
    truth, trials, queries = 0.05, 300, 300
    covered, narrower = 0, 0
    for trial in range(trials):
        b = rng.random(queries) < 0.6
        a = b | (rng.random(queries) < 0.125)  # a gains 0.125 * 0.4 = 0.05
        diff, low, high = paired_bootstrap(a, b, seed=trial, resamples=1000)
        assert diff == pytest.approx(a.mean() - b.mean())
        assert low <= diff <= high
        covered += low <= truth <= high
        a_low, a_high = bootstrap_interval(a, seed=trial, resamples=1000)
        narrower += high - low < a_high - a_low
    assert 0.9 <= covered / trials <= 0.99
    assert narrower == trials


def test_paired_bootstrap_is_antisymmetric_and_blind_to_shared_answers() -> None:
    a = np.array([1, 1, 0, 1, 0, 1, 1, 0] * 10, dtype=np.bool_)
    b = np.array([1, 0, 0, 1, 1, 0, 1, 0] * 10, dtype=np.bool_)
    diff, low, high = paired_bootstrap(a, b, seed=2)
    assert diff == pytest.approx(0.125)
    back, back_low, back_high = paired_bootstrap(b, a, seed=2)
    assert (back, back_low, back_high) == pytest.approx((-diff, -high, -low))
    assert paired_bootstrap(a, a) == (0.0, 0.0, 0.0)


def test_the_chunked_draw_still_gives_every_resample() -> None:
    # 50,000 queries need several chunks; the normal approximation is exact enough there.
    correct = np.arange(50_000) % 4 > 0
    low, high = bootstrap_interval(correct, resamples=500)
    half = 1.96 * math.sqrt(0.75 * 0.25 / correct.size)
    assert low == pytest.approx(0.75 - half, abs=half / 4)
    assert high == pytest.approx(0.75 + half, abs=half / 4)


@pytest.mark.parametrize("values", [np.zeros(0), np.zeros((2, 2))])
def test_no_vector_of_queries_is_refused(values: np.ndarray) -> None:
    with pytest.raises(ValueError, match="one value per query"):
        bootstrap_interval(values)


def test_different_queries_are_refused() -> None:
    with pytest.raises(ValueError, match="same queries"):
        paired_bootstrap(np.zeros(3), np.zeros(4))


TOOL = {
    "name": "add",
    "description": "Add",
    "parameters": {
        "type": "object",
        "properties": {"a": {"type": "integer", "description": "first"}},
        "required": ["a"],
    },
}


def record_row(id_: str, a: int | None) -> dict[str, Any]:
    answers = [] if a is None else [{"name": "add", "arguments": {"a": a}}]
    return {"id": id_, "query": f"add {a}", "tools": [TOOL], "answers": answers}


def answer_row(id_: str, a: int | None, **more: Any) -> dict[str, Any]:
    calls = [] if a is None else [{"name": "add", "arguments": {"a": a}}]
    return {"id": id_, "calls": calls, "method": "greedy", **more}


def write_lines(path: Path, rows: list[Any]) -> str:
    lines = [row if isinstance(row, str) else json.dumps(row) for row in rows]
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
    return str(path)


def test_the_command_counts_and_reports_everything(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    no_gold = {key: value for key, value in record_row("g", 1).items() if key != "answers"}
    records = [record_row("a", 1), record_row("b", 2), record_row("c", None), record_row("d", 4)]
    answers = [
        answer_row("c", None),
        answer_row("a", 1),
        answer_row("b", 3, finished=False),
        answer_row("b", 2),  # too late: the first counts
        answer_row("z", 1),
        "{not json",
        {"id": "d", "calls": [{"name": "add", "arguments": [4]}]},
    ]
    out = tmp_path / "eval" / "result.json"
    status = main(
        [
            "--records",
            write_lines(tmp_path / "records.jsonl", [*records, no_gold, "[]"]),
            "--answers",
            write_lines(tmp_path / "answers.jsonl", answers),
            "--format",
            "record",
            "--metric",
            "exact",
            "--out",
            str(out),
        ]
    )
    result = json.loads(out.read_text(encoding="utf-8"))
    printed = capsys.readouterr()
    assert status == 0
    assert result["per_query"] == {"a": True, "b": False, "c": True, "d": False}
    assert (result["correct"], result["queries"], result["accuracy"]) == (2, 4, 0.5)
    assert result["ci_low"] < 0.5 < result["ci_high"]
    assert result["methods"] == ["greedy"]
    assert result["unfinished"] == 1
    ids = {kind: [row["id"] for row in rows] for kind, rows in result["problems"].items()}
    assert len(ids.pop("bad record")) == 1
    assert len(ids.pop("bad answer")) == 2
    assert ids == {"unknown": ["z"], "duplicate": ["b"], "no gold": ["g"], "missing": ["d"]}
    assert "2 of 4 right" in printed.out
    assert "unfinished answers: 1" in printed.out
    assert "answers.jsonl:7: calls[0].arguments: expected an object" in printed.err


def test_the_order_of_answers_does_not_matter(tmp_path: Path) -> None:
    tool = Tool(TOOL["name"], TOOL["description"], TOOL["parameters"])
    records = [
        Record(
            str(k),
            ({"role": "user", "content": f"add {k}"},),
            (tool,),
            (GoldCall.exact(Call("add", {"a": k})),),
        )
        for k in range(6)
    ]
    path = tmp_path / "answers.jsonl"
    rows = [answer_row(str(k), k if k % 3 else 77) for k in range(6)]
    forward = evaluate(records, read_answers(write_lines(path, rows)))
    backward = evaluate(records, read_answers(write_lines(path, rows[::-1])))
    assert forward.ids == backward.ids == tuple("012345")
    assert forward.correct.tolist() == [False, True, True, False, True, True]
    assert backward.correct.tolist() == forward.correct.tolist()
    assert not forward.problems


def test_rows_without_id_are_numbered(tmp_path: Path) -> None:
    rows = [{"calls": []}, "", {"calls": []}, {"id": 7, "calls": []}]
    answers = read_answers(write_lines(tmp_path / "answers.jsonl", rows))
    assert [answer.id for answer in answers] == ["0", "1", "7"]


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("3", "expected an object"),
        ('{"id": "a"}', "calls: expected a list"),
        ('{"id": "a", "calls": [3]}', r"calls\[0\].name"),
        ('{"id": "a", "calls": [{"name": "f"}]}', r"calls\[0\].arguments"),
        ('{"id": "a", "calls": [], "finished": "yes"}', "finished: expected true or false"),
        ('{"id": ["a"], "calls": []}', "id: expected Unicode text or an integer"),
        ('{"id": "a", "calls": [}', "expected JSON"),
    ],
)
def test_a_bad_answer_names_file_line_and_field(tmp_path: Path, row: str, says: str) -> None:
    path = write_lines(tmp_path / "answers.jsonl", [answer_row("b", 1), row])
    with pytest.raises(DataError, match=rf"answers\.jsonl:2: {says}"):
        read_answers(path)


@pytest.mark.parametrize("broken", ["missing", "empty", "directory", "unrelated", "no gold"])
def test_input_that_cannot_be_used_is_one_line_on_stderr(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], broken: str
) -> None:
    row = record_row("a", 1)
    if broken == "no gold":
        del row["answers"]
    records = write_lines(tmp_path / "records.jsonl", [row])
    answers = tmp_path / "answers.jsonl"
    if broken == "empty":
        answers.touch()
    elif broken == "directory":
        answers.mkdir()
    elif broken == "unrelated":
        write_lines(answers, [answer_row("z", 1)])
    elif broken == "no gold":
        write_lines(answers, [answer_row("a", 1)])
    out = tmp_path / "out.json"
    arguments = ["--records", records, "--answers", str(answers), "--out", str(out)]
    assert main([*arguments, "--format", "record"]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("toolprm-evaluate: error: ")
    assert printed.err.count("\n") == 1
    assert not out.exists()


def test_an_unknown_metric_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--answers", "a", "--records", "r", "--metric", "nope"]) == 2
    assert "exact" in capsys.readouterr().err


def test_an_unfinished_answer_is_wrong_where_no_call_is_right() -> None:
    message = {"role": "user", "content": "hello"}
    record = Record("a", (message,), (Tool("f", "", {}),), ())
    for finished in (True, False):
        found = evaluate([record], [GivenAnswer("a", (), finished, "greedy")])
        assert found.correct.tolist() == [finished]


def test_f1_is_told_beside_exact_match(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    records = write_lines(tmp_path / "records.jsonl", [record_row(str(k), k) for k in range(8)])
    rows = [answer_row(str(k), k if k % 4 else 77) for k in range(7)]  # the last has no answer
    answers = write_lines(tmp_path / "answers.jsonl", rows)
    out = tmp_path / "out.json"
    argv = ["--records", records, "--format", "record", "--answers", str(answers)]
    assert main([*argv, "--metric", "f1", "--out", str(out)]) == 0
    printed = capsys.readouterr().out
    assert "exact: 5 of 8 right" in printed
    assert "F1 of names: 0.8750" in printed  # the missing answer is a name that is wrong
    assert "F1 of arguments: 0.6667" in printed  # 5 of 7 given, of 8
    found = json.loads(out.read_text())
    assert found["f1_arguments_low"] < found["f1_arguments"] < found["f1_arguments_high"]


def test_the_interval_of_a_ratio_is_that_of_resampled_sums() -> None:
    rng = np.random.default_rng(3)
    values = rng.integers(1, 5, size=(40, 2))

    def ratio(sums: np.ndarray) -> np.ndarray:
        return sums[..., :1] / sums[..., 1:]

    low, high = bootstrap_statistic(values, ratio, seed=5)
    picked = rng.integers(40, size=(10_000, 40))
    sums = values[picked].sum(axis=1)
    expected = np.quantile(sums[:, 0] / sums[:, 1], [0.025, 0.975])
    np.testing.assert_allclose([low[0], high[0]], expected, rtol=0.02)


def test_bfcls_rules_ask_for_bfcls_golds(
    shared_data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The gold's first values are right in every category."""
    for name in ("simple_python", "multiple", "parallel", "irrelevance"):
        path = shared_data / "bfcl" / f"BFCL_v4_{name}.json"
        records = list(read_records(path))
        rows = [
            {"id": record.id, "calls": [call.to_json() for call in gold_calls(record)]}
            for record in records
        ]
        answers = write_lines(tmp_path / f"{name}.jsonl", rows)
        argv = ["--records", str(path), "--answers", str(answers), "--metric", "bfcl"]
        assert main(argv) == 0
        assert f"bfcl: {len(rows)} of {len(rows)} right" in capsys.readouterr().out
    records = write_lines(tmp_path / "records.jsonl", [record_row("a", 1)])
    assert main(["--records", str(records), "--answers", str(answers), "--metric", "bfcl"]) == 2
    assert "expected BFCL's records, found 1 others" in capsys.readouterr().err
