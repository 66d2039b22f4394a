"""Seconds by part: own time against a plain sweep, and the parts of a real search."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from hypothesis import given
from hypothesis import strategies as st

from search.commands import search as main
from search.host.profiling import (
    BOOKKEEPING,
    CACHE,
    PARTS,
    POLICY,
    REWARD,
    instruction_of,
    own_seconds,
    parts_of,
)

Span = tuple[str, float, float]


@st.composite
def nested_spans(draw: st.DrawFn, low: int = 0, high: int = 40, depth: int = 0) -> list[Span]:
    """Spans inside of [low, high], any two nested or apart."""
    cuts = sorted(draw(st.sets(st.integers(low, high), max_size=6)))
    spans: list[Span] = []
    for start, end in zip(cuts[::2], cuts[1::2], strict=False):
        spans.append((draw(st.sampled_from("abc")), start, end))
        if depth < 2:
            spans += draw(nested_spans(start, end, depth + 1))
    return spans


@given(nested_spans())
def test_own_time_is_the_innermost_spans(spans: list[Span]) -> None:
    expected: Counter[str] = Counter()
    for instant in range(40):
        around = [span for span in spans if span[1] <= instant < span[2]]
        if around:
            # Of spans with the same ends the later one is the inner one.
            inner = max(enumerate(around), key=lambda at: (at[1][1] - at[1][2], at[0]))[1]
            expected[inner[0]] += 1
    found = {name: round(seconds * 1e9) for name, seconds in own_seconds(spans).items()}
    assert {name: n for name, n in found.items() if n} == expected


def test_instructions_belong_to_the_scope_that_they_were_traced_in() -> None:
    def program(x: jax.Array) -> jax.Array:
        with jax.named_scope(POLICY):
            x = jax.lax.fori_loop(0, 3, lambda _, y: jnp.sin(y) @ y, x)
        with jax.named_scope(REWARD):
            x = jnp.sort(x)
        with jax.named_scope(CACHE):
            x = jnp.cumsum(x, axis=0)
        return jnp.argsort(x, axis=0)

    text = jax.jit(program).lower(jnp.ones((8, 8))).compile().as_text()
    assert text is not None
    parts = parts_of(text)
    assert set(parts.values()) == set(PARTS)
    assert {part for name, part in parts.items() if name.startswith("dot")} == {POLICY}
    assert parts[next(name for name in parts if name.startswith("param"))] == BOOKKEEPING


@pytest.mark.parametrize(
    ("name", "stats"),
    [
        ("fusion.3", []),
        ("%fusion.3 = f32[2]{0} fusion(%a), kind=kLoop", [("flops", 2)]),
        ("loop_fusion_3", [("hlo_module", "jit_search"), ("hlo_op", "fusion.3")]),
    ],
    ids=["cpu", "tpu", "gpu"],
)
def test_events_name_their_instruction(name: str, stats: list[tuple[str, Any]]) -> None:
    assert instruction_of(SimpleNamespace(name=name, stats=stats)) == "fusion.3"


def test_the_command_tells_seconds_by_part(
    learnt: Path, tiny_pair: Any, tmp_path: Path, capsys
) -> None:
    trace = tmp_path / "trace"
    # Two batches: their seconds add up.
    arguments = ["--policy", tiny_pair.policy, "--prm", tiny_pair.prm, "--records", str(learnt)]
    arguments += ["--method", "fine_grained", "--num_beams", "2", "--beam_width", "2"]
    arguments += ["--batch_size", "2", "--max_tokens", "64", "--out", str(tmp_path / "answers")]
    assert main.main([*arguments, "--profile", str(trace)]) == 0
    told = json.loads(capsys.readouterr().out)
    assert set(told["parts"]) == {"prefill", *PARTS}
    assert min(told["parts"][part] for part in ("prefill", POLICY, REWARD)) > 0, str(told)
    assert sum(told["parts"].values()) == pytest.approx(told["seconds"], abs=0.002)
    traces = {path.relative_to(trace).parts[0] for path in trace.rglob("*.xplane.pb")}
    assert traces == {"fine_grained-0", "fine_grained-1"}
