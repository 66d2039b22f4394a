"""The grammar against Python's JSON reader, labels against their definition, on random completions.

`FUZZ=1000000 pytest tests/test_fuzz.py -s` takes as many of each; `FUZZ_SEED` chooses others.
"""

from __future__ import annotations

import json
import os
import random
from typing import Any

from plain_grammar import mutate, reference
from plain_labels import Spelled, naive_labels, spell

from toolprm_jax.annotation.labels import label_completion
from toolprm_jax.grammar.dresses import tables
from toolprm_jax.grammar.runner import run
from toolprm_jax.grammar.types import Dress, Kind
from toolprm_jax.records.types import GoldCall, Record

COUNT = int(os.environ.get("FUZZ", "5000"))
SEED = int(os.environ.get("FUZZ_SEED", "0"))
LIST = tables("list")
DRESSES: list[Dress] = ["list", "tool_call"]
SCALARS = [None, True, False, 0, -1, 1.5, 1e-7, 10**20, "", "a", 'q"\\', "é\U0001f600", "\n\t/"]
BYTES = b'{}[]",:\\/ \t\n0123456789.eE+-truefalsnudDcC89abAB\x00\x1f\x7f'


def value(how: random.Random, depth: int = 0) -> Any:
    kind = how.randrange(6 if depth < 4 else 4)
    if kind < 4:
        return how.choice(SCALARS)
    inner = [value(how, depth + 1) for _ in range(how.randrange(3))]
    return inner if kind == 4 else {how.choice("abcä"): item for item in inner}


def written(how: random.Random) -> bytes:
    calls = [
        {"name": how.choice(["f", "é", '"']), "arguments": {how.choice("xy"): value(how) for _ in
         range(how.randrange(3))}} for _ in range(how.randrange(3))
    ]  # fmt: skip
    indent, ascii_ = how.choice([None, None, 0, 1]), how.random() < 0.5
    data = json.dumps(calls, indent=indent, ensure_ascii=ascii_).encode()
    for _ in range(how.choice([0, 1, 1, 1, 2, 3])):
        byte = how.choice(BYTES) if how.random() < 0.8 else how.randrange(256)
        data = mutate(
            data, (how.choice(["insert", "delete", "replace", "copy"]), how.random(), byte)
        )
    return data


def test_the_grammar_takes_what_json_takes() -> None:
    accepted = 0
    for number in range(COUNT):
        data = written(random.Random(f"{SEED}:{number}"))
        result = run(LIST, data, eot=True)
        whole = result.accepted and not result.trailing
        ours: list[Kind] | None = [kind for kind, _ in result.events] if whole else None
        assert ours == reference(data), (SEED, number, data)
        accepted += whole
    print(f"{COUNT} texts, seed {SEED}: {accepted} accepted by both, the others by none")
    assert 0.1 < accepted / COUNT < 0.9


def arguments(how: random.Random, most: int) -> list[tuple[str, Any]]:
    return [(how.choice("xyz"), how.randint(1, 3)) for _ in range(how.randrange(most + 1))]


def golds_and_calls(how: random.Random) -> tuple[list[GoldCall], list[Spelled]]:
    """Golds, some of which overlap, and calls that are often right."""
    listed = how.choice([1, 1, 2])
    golds = [
        GoldCall(
            how.choice("fg"),
            {
                key: tuple({how.randint(1, 3) for _ in range(listed)})
                for key, _ in arguments(how, 2)
            },
        )
        for _ in range(how.randrange(5))
    ]
    calls: list[Spelled] = []
    for gold in golds:
        if how.random() < 0.85:
            pairs = [(key, how.choice(values)) for key, values in gold.arguments.items()]
            calls.append((gold.name, how.sample(pairs, len(pairs))))
        if how.random() < 0.15:
            calls.append((how.choice("fgh"), arguments(how, 3)))
    return golds, how.sample(calls, len(calls))


def test_labels_are_those_of_the_definition() -> None:
    right = 0
    for number in range(COUNT):
        how = random.Random(f"{SEED}:{number}:labels")
        golds, calls = golds_and_calls(how)
        record = Record("r", ({"role": "user", "content": "q"},), (), tuple(golds))
        dress = how.choice(DRESSES)
        labelled = label_completion(record, spell(calls, dress), dress=dress)
        found = [step.label for step in labelled.steps]
        assert found == naive_labels(calls, golds), (SEED, number, golds, calls)
        assert labelled.error is None
        right += labelled.correct
    print(f"{COUNT} completions, seed {SEED}: {right} right")
    assert 0.1 < right / COUNT < 0.9
