"""toolprm-ask: answers one query, and says how sure it is of every part."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.text import Text

from toolprm_jax.command import Parser, add_fields, check_files, command, printable, whole_number
from toolprm_jax.records import DataError, Record, query_record, read_json

from .. import host
from ..core import Execution, SearchConfig
from .options import ANSWERING, add_devices, add_pair, load_searcher

_SURE, _UNSURE = 0.8, 0.5  # probabilities from which a part is shown green, or yellow


def parser() -> Parser:
    """The command's arguments."""
    out = Parser("toolprm-ask", "Answers one query with function calls.")
    out.add_argument("query", nargs="?", help="the query; without it the first of --records")
    out.add_argument("--tools", help="JSON file with a list of tools, bare or in OpenAI's form")
    out.add_argument("--records", help="records file, whose first query is asked")
    add_pair(out)
    add_fields(out, SearchConfig, *ANSWERING, schema="strict")
    out.add_argument("--seed", type=whole_number(0), default=0, help="of the draws")
    out.add_argument("--json", action="store_true", help="print the answer as a line of JSON")
    out.add_argument("--tree", help="HTML file to draw the search into; compiled apart")
    add_devices(out)
    return out


def _record(args: argparse.Namespace) -> Record:
    """The query that the arguments name.

    Raises:
      DataError: they name none, or more than one.
    """
    if args.records:
        if args.query or args.tools:
            raise DataError("--records: expected neither a query nor --tools beside it")
        return host.read_queries(args.records, None, 1)[0]
    if not args.query or not args.tools:
        raise DataError("expected a query and --tools, or --records")
    try:
        tools = read_json(Path(args.tools))
    except DataError as error:
        raise DataError(f"{error}; expected one list of tools") from None
    if isinstance(tools, dict):
        tools = tools.get("tools", [tools])
    if not isinstance(tools, list):
        raise DataError(f"{args.tools}: expected a list of tools")
    try:
        return query_record(args.query, tools)
    except DataError as error:
        raise DataError(f"{args.tools}: {error}") from None


def _coloured(p: float | None, text: str) -> Text:
    if p is None:
        return Text(text)
    style = "green" if p >= _SURE else "yellow" if p >= _UNSURE else "red"
    return Text.assemble((text, style), (f" {p:.2f}", "dim"))


def show(answer: host.Answer, console: Console) -> None:
    """Prints the calls of an answer, each part with how sure it is.

    Args:
      answer: finished or not.
      console: where to.
    """
    if not answer.finished:
        console.print(f"no whole answer ({', '.join(answer.flags)}): {printable(answer.text)}")
        return
    if not answer.calls:
        console.print("no call")
    if "closed" in answer.flags:
        console.print("ran against a limit; closed in the shortest way that the tools accept")
    unknown = [{"call": None, "arguments": {}}] * len(answer.calls)
    sure: list[Any] = answer.confidence["calls"] if answer.confidence else unknown
    for call, known in zip(answer.calls, sure, strict=True):
        console.print(_coloured(known["call"], printable(call.name)))
        for name, value in call.arguments.items():
            line = _coloured(known["arguments"].get(name), json.dumps(value, ensure_ascii=False))
            console.print(Text(f"  {printable(name)} = "), line, sep="")


def _execution(candidates: int) -> Execution:
    """Passes of one size, as one query fills them; compiling them is most of a first answer."""
    return Execution(pass_sizes=1, max_lanes=min(2 * candidates, Execution.max_lanes))


def _ask(args: argparse.Namespace) -> int:
    check_files({"tools": args.tools, "records": args.records}, {"tree": args.tree})
    record, start = _record(args), time.perf_counter()
    searcher = load_searcher(
        args,
        execution=_execution(args.num_beams * args.beam_width),
        **{name: getattr(args, name) for name in ANSWERING},
    )
    loaded = time.perf_counter() - start
    (answer,) = searcher.many([record], seed=args.seed, trace=bool(args.tree))
    if args.tree:
        answer.tree(args.tree)
    if args.json:
        print(json.dumps(answer.to_json(), ensure_ascii=False))
    else:
        show(answer, Console(highlight=False))
    spent = searcher.spent
    print(
        f"{loaded:.1f} s loading, {spent.compile_seconds:.1f} s compiling, "
        f"{spent.seconds:.1f} s searching",
        file=sys.stderr,
    )
    return 0


main = command(parser, _ask)


if __name__ == "__main__":
    raise SystemExit(main())
