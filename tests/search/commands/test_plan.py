"""Planning a search."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import jax
import pytest

from search.commands import serve
from search.commands.plan import plan_search
from search.commands.search import main
from search.core.config import Execution, SearchConfig
from search.host.sharded import place_models
from toolprm_jax.model.decoder import DecoderConfig, init_params
from toolprm_jax.model.sharding import make_mesh

SHAPE = DecoderConfig(
    vocab_size=512, hidden_size=32, intermediate_size=64, num_layers=2, num_heads=4,
    num_kv_heads=4, head_dim=8,
)  # fmt: skip
CONFIG = SearchConfig(
    num_beams=2, beam_width=2, max_tokens=32, pool_size=64, execution=Execution(pass_sizes=1)
)


def test_the_plan_counts_what_a_device_holds() -> None:
    prm = replace(SHAPE, num_layers=1)
    plan = plan_search(
        SHAPE, prm, CONFIG, batch_size=4, prompt_tokens=64, tensor=4, devices=jax.devices()
    )
    shapes = (SHAPE, prm)
    params = (init_params(shape, jax.random.key(0)) for shape in shapes)
    laid_out = place_models(make_mesh(tensor=4), *params)
    here = [
        sum(leaf.addressable_shards[0].data.nbytes for leaf in jax.tree.leaves(tree))
        for tree in laid_out
    ]
    assert [plan.parts["policy"], plan.parts["reward model"]] == here
    assert plan.total > sum(plan.parts.values())
    with pytest.raises(ValueError, match="expected a multiple of the 2 devices along data"):
        plan_search(
            SHAPE, None, CONFIG, batch_size=3, prompt_tokens=64, tensor=4, devices=jax.devices()
        )


def test_the_command_prints_the_plan(tiny_pair: Any, capsys: pytest.CaptureFixture[str]) -> None:
    models = ["--plan", "--policy", tiny_pair.policy, "--prompt_tokens", "64"]
    assert main([*models, "--method", "greedy", "--max_tokens", "16"]) == 0
    out = capsys.readouterr().out
    assert "8 x cpu" in out
    assert "reward model" not in out
    assert "greedy, N = 1, M = 1, 8 queries at once, prompts of 64 tokens" in out
    assert main([*models, "--prm", "shape:none"]) == 2
    assert "no such shape" in capsys.readouterr().err
    assert main([*models, "--method", "greedy", "--tensor", "3"]) == 2
    assert "there are 8" in capsys.readouterr().err
    assert main(["--policy", tiny_pair.policy, "--method", "greedy"]) == 2
    assert "--records: expected a file" in capsys.readouterr().err


def test_the_server_prints_its_plan(tiny_pair: Any, capsys: pytest.CaptureFixture[str]) -> None:
    models = ["--plan", "--policy", tiny_pair.policy, "--prm", tiny_pair.prm]
    sizes = ["--rows", "3", "--longest", "64", "--max-tokens", "16", "--pool-size", "64"]
    sizes += ["--num-beams", "1", "--beam-width", "2", "--method", "best_of_n"]
    assert serve.main([*models, *sizes]) == 0
    out = " ".join(capsys.readouterr().out.split())
    assert "1 x cpu" in out
    assert "best_of_n, N = 1, M = 2, 3 queries at once, prompts of up to 64 tokens" in out
    assert all(f" {part} " in out for part in ("policy", "reward model", "rows"))
    assert serve.main([*models, "--prm", "shape:none"]) == 2
    assert "no such shape" in capsys.readouterr().err
