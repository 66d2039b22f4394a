"""Every method over whole test sets, resumable: the numbers in the README and docs/results.md.

The sets that are asked for are searched as one: a batch may hold queries of several, and all share
their compiled programs. The seconds of a batch are shared out evenly.

python -m search.studies.compare --runs runs/compare [--data FOLDER] [--out results/table_b.json]
"""

from __future__ import annotations

import argparse
import itertools
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from rich.console import Console

from toolprm_jax.annotation import F1Counts, exact_match, f1_counts
from toolprm_jax.cache import keep_programs
from toolprm_jax.command import Parser, check_files, command, whole_number
from toolprm_jax.progress import Progress
from toolprm_jax.records import (
    Call,
    DataError,
    Record,
    read_json,
    read_records,
    read_rows,
    write_resumable,
)
from toolprm_jax.toolworld import masked_corpus

from ..core import Execution, SearchConfig
from ..host import Answer, ModelPair, Searcher, digest_of, load_told
from ..methods import GUIDED, METHODS, Method
from ..report import f1_intervals, results_table, write_results
from .demo import COMPARED, CONFIG, SEED, result_row, verdicts

QUERIES = 500  # of a set, at most
# Long enough for the parallel calls of the real sets.
LONG = replace(CONFIG, max_tokens=256, max_step_tokens=64, pool_size=2048)


class Source(NamedTuple):
    """Where a data set lies below --data, and which of its records are the test part."""

    file: str
    first: int = 0  # those before it are trained on
    metric: str = "exact"  # "bfcl": exact match by BFCL's own rules; "f1" is told beside it


DATA_SETS = {
    "bfcl_simple": Source("bfcl/BFCL_v4_simple_python.json", metric="bfcl"),
    "bfcl_multiple": Source("bfcl/BFCL_v4_multiple.json", metric="bfcl"),
    "bfcl_parallel": Source("bfcl/BFCL_v4_parallel.json", metric="bfcl"),
    "bfcl_irrelevance": Source("bfcl/BFCL_v4_irrelevance.json", metric="bfcl"),
    "toolalpaca": Source("toolalpaca/toolalpaca_114.json", metric="f1"),
    "seal_tools": Source("seal-tools/seal_tools.jsonl", first=1300, metric="f1"),
}
CORPUS = "toolworld"


class Setting(NamedTuple):
    """One row of the table, but for its data set."""

    method: Method
    judge: str  # "none" for methods that ask none
    num_beams: int
    beam_width: int
    schema: Any

    @property
    def name(self) -> str:
        """What its file is called."""
        size = f"{self.num_beams}x{self.beam_width}"
        return "-".join((self.method, self.judge, size, self.schema))

    def config(self, max_lanes: int = Execution.max_lanes) -> SearchConfig:
        """What a searcher is made with."""
        execution = Execution(max_lanes=max_lanes)
        n, m = self.num_beams, self.beam_width
        return replace(LONG, num_beams=n, beam_width=m, schema=self.schema, execution=execution)


class Pool(NamedTuple):
    """The records of all sets, one set after another."""

    records: list[Record]
    places: dict[str, range]  # of each set

    @classmethod
    def of(cls, sets: Mapping[str, Sequence[Record]]) -> Pool:
        """The pool of some sets."""
        ends = list(itertools.accumulate(map(len, sets.values())))
        starts = [0, *ends[:-1]]
        places = {n: range(a, b) for n, a, b in zip(sets, starts, ends, strict=True)}
        return cls([record for records in sets.values() for record in records], places)


def settings(args: argparse.Namespace, judges: Sequence[str]) -> list[Setting]:
    """The settings that are asked for, greedy first; methods without a judge come once."""
    methods = sorted(dict.fromkeys(args.methods), key=lambda method: method != "greedy")
    found = [
        Setting(method, judge if method in GUIDED else "none", n, m, schema)
        for schema, judge, method in itertools.product(args.schemas, judges, methods)
        for n, m in (args.sizes if method != "greedy" else args.sizes[:1])
    ]
    return list(dict.fromkeys(found))


def data_set(name: str, data: str | None, limit: int) -> list[Record]:
    """The test records of a set.

    Raises:
      DataError: its file is missing, or a record has no answers to compare with.
    """
    if name == CORPUS:
        return list(masked_corpus(SEED, "heldout", limit))
    source = DATA_SETS[name]
    if data is None:
        raise DataError(f"--sets: {name} needs --data")
    rows = read_records(Path(data) / source.file)
    records = list(itertools.islice(rows, source.first, source.first + limit))
    if any(record.answers is None for record in records):
        raise DataError(f"{name}: a record has no answers to compare with")
    return records


def _size(text: str) -> tuple[int, int]:
    numbers = text.split("x")
    if len(numbers) != 2 or not all(n.isascii() and n.isdigit() and int(n) for n in numbers):
        raise argparse.ArgumentTypeError(f"expected NxM, as in 4x4, found {text!r}")
    return int(numbers[0]), int(numbers[1])


def _judge(text: str) -> tuple[str, str]:
    name, equals, model = text.partition("=")
    if not (name.isidentifier() and equals and model) or name == "none":
        raise argparse.ArgumentTypeError(f"expected NAME=MODEL, found {text!r}")
    return name, model


def parser() -> Parser:
    """The command's arguments."""
    out = Parser(
        "python -m search.studies.compare",
        "Compares the search methods over whole test sets. Killed at any time, the same command "
        "goes on where it stopped; rows of other settings in the table are kept.",
    )
    out.add_argument("--data", help="folder with bfcl/, toolalpaca/ and seal-tools/")
    sets = (CORPUS, *DATA_SETS)
    out.add_argument(
        "--sets", nargs="+", choices=sets, help="all of them; without --data the first"
    )
    out.add_argument("--methods", nargs="+", choices=METHODS, default=list(COMPARED))
    out.add_argument(
        "--schemas", nargs="+", choices=("ignore", "prune", "strict"), default=["ignore"]
    )
    out.add_argument("--sizes", nargs="+", type=_size, default=[(4, 4)], help="N and M, as NxM")
    out.add_argument("--policy", default="embedded:policy", help="a model")
    out.add_argument(
        "--judges",
        nargs="+",
        type=_judge,
        default=[("toolprm", "embedded:prm")],
        metavar="NAME=MODEL",
        help="reward models, with the names that they have in the table",
    )
    out.add_argument("--limit", type=whole_number(1), default=QUERIES, help="queries a set at most")
    out.add_argument("--batch-size", type=whole_number(1), default=24)
    out.add_argument(
        "--max-shapes", type=whole_number(1), default=3, help="prompt lengths that are compiled"
    )
    out.add_argument(
        "--max-lanes",
        type=whole_number(1),
        default=Execution.max_lanes,
        help="tokens that a model runs at once",
    )
    out.add_argument(
        "--dtype",
        choices=("bfloat16", "float32"),
        help="of weights and caches (default: float32 on a CPU, else bfloat16)",
    )
    out.add_argument("--runs", default="runs/compare", help="directory for what is done so far")
    out.add_argument("--out", default="results/table_b.json", help="table to write")
    return out


class Found(NamedTuple):
    """What a setting made of a data set."""

    correct: np.ndarray  # bool[Q], in the order of the records
    any_right: np.ndarray  # bool[Q], whether any whole beam that was kept is
    cost: Counter[str]
    flags: Counter[str]
    no_call: int
    seconds: float
    counts: np.ndarray  # int[Q, 6], `F1Counts` of each


def read_found(path: Path, pool: Pool) -> dict[str, Found]:
    """Reads what `_searched` wrote of a pool, by set."""
    lines: dict[int, dict[str, Any]] = {}
    for row in read_rows(path):
        batch: Any = row.value
        for line in batch["answers"]:
            lines[line["place"]] = {**line, "seconds": batch["seconds"] / len(batch["answers"])}

    def counted(place: int) -> F1Counts:
        line = lines[place]
        calls = [Call(call["name"], call["arguments"]) for call in line["calls"]]
        return f1_counts(pool.records[place], calls if line["finished"] else None)

    out = {}
    for name, places in pool.places.items():
        mine = [lines[place] for place in places]
        cost: Counter[str] = Counter()
        for line in mine:
            cost.update(line["cost"])
        out[name] = Found(
            np.asarray([line["correct"] for line in mine]),
            np.asarray([line["any_right"] for line in mine]),
            cost,
            Counter(flag for line in mine for flag in line["flags"]),
            sum(not line["calls"] for line in mine),
            sum(line["seconds"] for line in mine),
            np.asarray([counted(place) for place in places]),
        )
    return out


def _line(place: int, answer: Answer, correct: bool) -> dict[str, Any]:
    right = (exact_match(answer.record, beam.calls) for beam in answer.beams)
    told = {"correct": correct, "any_right": correct or any(right)}
    return {"place": place, **answer.to_json(), **told}


def _searched(
    searcher: Searcher, setting: Setting, pool: Pool, args: argparse.Namespace
) -> dict[str, Found]:
    """What a setting makes of a pool; of a run that was stopped only the rest is searched."""
    method, pair, records = setting.method, searcher.pair, pool.records
    config = searcher.config_of(method)
    key: list[Any] = [digest_of(one, records) for one in (pair.policy, pair.prm) if one]
    key += [str(config), args.batch_size, args.max_shapes, args.dtype]
    key += [jax.__version__, jax.default_backend()]
    with Progress(len(records), "answer") as bar:

        def lines(skip: int) -> Iterator[dict[str, Any]]:
            bar.update(min(skip * args.batch_size, len(records)))
            for batch in searcher.batches(
                records,
                {method: config},
                seed=0,
                batch_size=args.batch_size,
                max_shapes=args.max_shapes,
                skip=skip,
                bar=bar,
            ):
                mine = batch[method]
                right = verdicts(mine.answers).tolist()
                each = zip(mine.indices, mine.answers, right, strict=True)
                yield {"seconds": mine.spent.seconds, "answers": [_line(*one) for one in each]}

        path = Path(args.runs, "+".join(pool.places), f"{setting.name}.jsonl")
        write_resumable(path, key, lines)
    return read_found(path, pool)


def table_rows(
    setting: Setting, name: str, mine: Found, greedy: Found | None
) -> list[dict[str, Any]]:
    """Rows of the table; with the difference from greedy under the same schema, where known."""
    config = setting.config()
    base = None if greedy is None or setting.method == "greedy" else greedy.correct
    metric = DATA_SETS[name].metric if name in DATA_SETS else "exact"
    row = {
        "dataset": name,
        **result_row(setting.method, config, mine.correct, mine.cost, mine.seconds, base),
        "judge": setting.judge,
        "schema": setting.schema,
        "metric": "exact" if metric == "f1" else metric,
        "any_right": float(mine.any_right.mean()),
        "no_call": mine.no_call,
        "device": jax.devices()[0].device_kind,
        "flags": dict(mine.flags),
    }
    if metric != "f1":
        return [row]
    plain = {key: value for key, value in row.items() if not key.startswith("diff")}
    return [row] + [
        {**plain, "metric": f"f1_{of}", "accuracy": value, "ci_low": low, "ci_high": high}
        for of, (value, low, high) in f1_intervals(mine.counts).items()
    ]


_KEY = ("dataset", "method", "judge", "num_beams", "beam_width", "schema", "metric")


def _merged(out: Path, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows of the table as it was, those that are new in the place of their old ones."""
    old: Any = read_json(out) if out.exists() else []
    if not isinstance(old, list) or not all(isinstance(row, dict) for row in old):
        raise DataError(f"{out}: expected the table of an earlier comparison")
    by_key = {tuple(row.get(key) for key in _KEY): row for row in [*old, *rows]}
    order = [CORPUS, *DATA_SETS]
    return sorted(by_key.values(), key=lambda row: order.index(row["dataset"]))


def _compare(args: argparse.Namespace) -> int:
    sets = args.sets or [CORPUS, *(DATA_SETS if args.data else ())]
    given = [name for name in sets if name != CORPUS and args.data]
    files = {f"data {name}": str(Path(args.data) / DATA_SETS[name].file) for name in given}
    check_files(files, {"out": args.out})
    judges = dict(args.judges)
    wanted = settings(args, list(judges))
    pool = Pool.of({name: data_set(name, args.data, args.limit) for name in sets})
    _merged(Path(args.out), [])  # before the work, which takes long
    keep_programs()
    policy = load_told(args.policy, dtype=args.dtype)
    greedy: dict[Any, dict[str, Found]] = {}  # by schema
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in sets}
    for judge, alike in itertools.groupby(wanted, lambda setting: setting.judge):
        prm = None if judge == "none" else load_told(judges[judge], dtype=args.dtype)
        pair = ModelPair(policy, prm, judge)
        for setting in alike:
            print(setting.name, file=sys.stderr)
            searcher = Searcher(pair, setting.config(args.max_lanes), method=setting.method)
            found = _searched(searcher, setting, pool, args)
            if setting.method == "greedy":
                greedy[setting.schema] = found
            base = greedy.get(setting.schema, {})
            for name, mine in found.items():
                rows[name] += table_rows(setting, name, mine, base.get(name))
            new = [row for some in rows.values() for row in some]
            write_results(args.out, _merged(Path(args.out), new))
    for name in sets:
        print(name)
        Console(width=120).print(results_table(rows[name]))
    print(f"results: {args.out}")
    return 0


main = command(parser, _compare)


if __name__ == "__main__":
    raise SystemExit(main())
