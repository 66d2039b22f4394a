"""Function-calling records for the embedded world, made up from a seed.

Run `python -m toolprm_jax.toolworld.corpus --split heldout --seed 7 --count 500 --out FILE` to
write them as record JSONL.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from functools import cache
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any

from ..records import Call, GoldCall, Record, write_jsonl
from .domains import ALL_TOOLS
from .spec import SPLITS, Split, ToolSpec
from .vocabulary import with_articles

GIVE_OPTIONAL = 0.45  # probability that a query mentions an optional parameter
NO_CALL = 0.10  # probability that no listed tool serves the query
CALL_COUNTS = (0.70, 0.20, 0.10)  # probabilities of one, two, three calls, if any
SAME_TOOL = 0.4  # probability that a further call repeats a tool
SAME_DOMAIN = 0.5  # probability that a distractor comes from the domain of the first tool
FRESH_TRIES = 8  # draws to avoid repeating a query within a group

GREETINGS = ("Hi, ", "Hello, ", "Hey, ")
AND_JOINS = (" and ", ", and ", " and then ", ", then ", "; next, ", " and also ")
BREAKS = ("Also, ", "Then ", "After that, ", "Next, ", "And ", "")


@cache
def tools(split: Split) -> tuple[ToolSpec, ...]:
    """The tools of one split; none is in both "train" and "heldout".

    Args:
      split: "train", "heldout"; or a part of "train": "unseen", every third of its tools, or
        "taught", the others.

    Returns:
      Tool specifications, in a fixed order.

    Source: our choice.
    """
    if split in ("taught", "unseen"):
        every = enumerate(tools("train"))
        return tuple(spec for index, spec in every if (index % 3 == 0) == (split == "unseen"))
    return tuple(spec for spec in ALL_TOOLS if spec.split == split)


class _Part:
    """One call and the sentence that asks for it, without end mark and not capitalised."""

    def __init__(self, spec: ToolSpec, rng: Random):
        phrasing = rng.choice(spec.phrasings)
        texts: dict[str, str] = {}
        arguments: dict[str, Any] = {}
        self.ends_in_list = False
        for param in spec.params:
            given = param.required or rng.random() < GIVE_OPTIONAL
            if param.name not in phrasing.slots or not given:
                texts[param.name] = ""
                continue
            value, texts[param.name] = param.sample(rng)
            while isinstance(value, str) and value in arguments.values():  # from Rome to Rome
                value, texts[param.name] = param.sample(rng)
            arguments[param.name] = value
            self.ends_in_list |= param.kind.is_list
        template = phrasing.template.removesuffix("?")
        if phrasing.template.split(" ", 1)[0] != "I":
            template = template[0].lower() + template[1:]
        self.text = with_articles(template.format_map(texts))
        self.is_question = phrasing.is_question
        self.is_order = phrasing.is_order
        self.is_polite = phrasing.template.startswith("Please ")
        self.call = Call(spec.name, arguments)


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


def _first_sentence(part: _Part, rng: Random) -> tuple[str, bool]:
    """The opening sentence, sometimes with a polite word, and whether it asks."""
    style = rng.random()
    if part.is_order and not part.is_polite:
        if style < 0.12:
            return f"Please {part.text}", False
        if style < 0.22:
            return f"{rng.choice(('Can', 'Could'))} you {part.text}", True
    if style > 0.92:
        return rng.choice(GREETINGS) + part.text, part.is_question
    return _capital(part.text), part.is_question


def _join(parts: Sequence[_Part], rng: Random) -> str:
    """One query that asks for all parts in order."""
    query, asks = _first_sentence(parts[0], rng)
    for previous, part in pairwise(parts):
        # After a list ("a, b and c") another "and" would read as one more item.
        plain = previous.is_order and part.is_order and not asks and not previous.ends_in_list
        if plain and rng.random() < 0.6:
            query += rng.choice(AND_JOINS) + part.text
            continue
        lead = rng.choice(BREAKS)
        query += ("? " if asks else ". ") + (lead + part.text if lead else _capital(part.text))
        asks = part.is_question
    return query + ("?" if asks else "." if rng.random() < 0.85 else "")


def _another(
    rng: Random, pool: Sequence[ToolSpec], domain: str, taken: Sequence[ToolSpec]
) -> ToolSpec:
    """A tool that isn't taken, as often as not from the domain."""
    near = [spec for spec in pool if spec.domain == domain and spec not in taken]
    if near and rng.random() < SAME_DOMAIN:
        return rng.choice(near)
    return rng.choice([spec for spec in pool if spec not in taken])


def _tool_list(rng: Random, pool: Sequence[ToolSpec]) -> list[ToolSpec]:
    """Two to four tools of a pool in random order."""
    chosen = [rng.choice(pool)]
    for _ in range(rng.choice((1, 2, 2, 3))):
        chosen.append(_another(rng, pool, chosen[0].domain, chosen))
    rng.shuffle(chosen)
    return chosen


def _query(
    rng: Random, pool: Sequence[ToolSpec], listed: Sequence[ToolSpec]
) -> tuple[str, tuple[Call, ...]]:
    """A query and the calls that are right for it."""
    if rng.random() < NO_CALL:
        absent = _another(rng, pool, rng.choice(listed).domain, listed)
        return _join([_Part(absent, rng)], rng), ()
    number = rng.choices((1, 2, 3), CALL_COUNTS)[0]
    used: list[ToolSpec] = []
    parts: list[_Part] = []
    while len(parts) < number:
        fresh = [spec for spec in listed if spec not in used]
        again = [spec for spec in used if spec.params]
        repeat = again and (not fresh or rng.random() < SAME_TOOL)
        if not repeat and not fresh:
            break  # two tools, both used, neither with parameters
        part = _Part(rng.choice(again if repeat else fresh), rng)
        if part.call in [other.call for other in parts]:
            continue
        parts.append(part)
        used.append(next(spec for spec in listed if spec.name == part.call.name))
    return _join(parts, rng), tuple(part.call for part in parts)


def make_group(seed: int, split: Split, index: int, size: int) -> list[Record]:
    """Several queries over one shared tool list.

    Args:
      seed: of the corpus.
      split: as for `tools`.
      index: of the group in the corpus; groups are independent of each other.
      size: number of queries; a shorter group is a prefix of a longer one.

    Returns:
      Records with the same `tools`, ids `split-seed-index-k`.

    Raises:
      ValueError: the split is unknown.

    Source: our choice.
    """
    if split not in SPLITS:
        raise ValueError(f"split: expected one of {', '.join(SPLITS)}, got {split!r}")
    rng = Random(f"toolworld/{split}/{seed}/{index}")
    pool = tools(split)
    listed = _tool_list(rng, pool)
    shown = tuple(spec.tool for spec in listed)
    seen: set[str] = set()
    records = []
    for k in range(size):
        query, calls = _query(rng, pool, listed)
        for _ in range(FRESH_TRIES):
            if query not in seen:
                break
            query, calls = _query(rng, pool, listed)
        seen.add(query)
        golds = tuple(GoldCall.exact(call) for call in calls)
        message = {"role": "user", "content": query}
        records.append(Record(f"{split}-{seed}-{index}-{k}", (message,), shown, golds))
    return records


def make_record(seed: int, split: Split, index: int) -> Record:
    """One record: the first of group `index`.

    Args:
      seed: of the corpus.
      split: as for `make_group`.
      index: of the record in the corpus.

    Returns:
      The record.

    Source: our choice.
    """
    return make_group(seed, split, index, 1)[0]


def corpus(seed: int, split: Split, count: int) -> Iterator[Record]:
    """The first `count` records of a corpus.

    Args:
      seed: of the corpus.
      split: as for `make_group`.
      count: number of records.

    Yields:
      Records, each with its own tool list.

    Source: our choice.
    """
    for index in range(count):
        yield make_record(seed, split, index)


def record_json(record: Record) -> dict[str, Any]:
    """A record as a line of record JSONL.

    Args:
      record: with a single user message and known answers.

    Returns:
      `{"id", "query", "tools", "answers"}`.

    Source: our choice.
    """
    return {
        "id": record.id,
        "query": record.query,
        "tools": [tool.to_json() for tool in record.tools],
        "answers": [gold.first().to_json() for gold in record.answers or ()],
    }


def main(argv: Sequence[str] | None = None) -> None:
    """Write a corpus as record JSONL."""
    parser = argparse.ArgumentParser(
        prog="python -m toolprm_jax.toolworld.corpus",
        description="Write records of the embedded corpus as JSON lines.",
    )
    parser.add_argument("--split", choices=SPLITS, required=True)
    parser.add_argument("--seed", type=int, default=0, help="seed of the corpus (default 0)")
    parser.add_argument("--count", type=int, required=True, help="number of records")
    parser.add_argument("--out", type=Path, required=True, help="file to write")
    options = parser.parse_args(argv)
    if options.count < 0:
        parser.error(f"--count: expected a number of records, got {options.count}")
    if not options.out.parent.is_dir():
        parser.error(f"--out: no folder {options.out.parent}")
    write_jsonl(options.out, map(record_json, corpus(options.seed, options.split, options.count)))


if __name__ == "__main__":
    main()
