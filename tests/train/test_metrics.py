"""Held-out metrics against definitions written out, and FLOPs against XLA's count."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from etils import epath
from hypothesis import given
from hypothesis import strategies as st

from toolprm_jax.grammar.types import Kind
from toolprm_jax.model.decoder import Decoder, DecoderConfig, init_params
from toolprm_jax.model.objectives import means, prm_sums, step_logits
from toolprm_jax.records.types import DataError
from toolprm_jax.tokens.tree import TreeBuilder, pack
from train.flops import forward_flops, layer_weights, training_flops
from train.metrics import auc, calibration_error, decision_metrics
from train.writers import json_lines, tensorboard, weights_and_biases

# Few different scores, so that ties are frequent.
DECISIONS = st.lists(
    st.tuples(st.integers(-4, 4), st.booleans(), st.integers(1, 3)), min_size=1, max_size=30
)


def columns(decisions: list[tuple[int, bool, int]]) -> Any:
    scores, labels, weights = zip(*decisions, strict=True)
    return np.array(scores) / 4.0, np.array(labels), np.array(weights, float)


@given(DECISIONS)
def test_auc_is_the_share_of_pairs_in_order(decisions: list[tuple[int, bool, int]]) -> None:
    scores, labels, weights = columns(decisions)
    won = total = 0.0
    for p, plus, w in zip(scores, labels, weights, strict=True):
        for q, other, v in zip(scores, labels, weights, strict=True):
            if plus and not other:
                total += w * v
                won += w * v * (1.0 if p > q else 0.5 if p == q else 0.0)
    found = auc(scores, labels, weights)
    if total:
        np.testing.assert_allclose(found, won / total)
    else:
        assert math.isnan(found)


@given(DECISIONS)
def test_calibration_error_is_the_mean_gap_of_15_bins(
    decisions: list[tuple[int, bool, int]],
) -> None:
    scores, labels, weights = columns(decisions)
    p = (scores + 1) / 2
    bins: dict[int, list[tuple[float, bool, float]]] = {}
    for triple in zip(p, labels, weights, strict=True):
        index = next(i for i in range(15) if triple[0] < (i + 1) / 15 or i == 14)
        bins.setdefault(index, []).append(triple)
    expected = 0.0
    for inside in bins.values():
        size = sum(w for _, _, w in inside)
        confidence = sum(q * w for q, _, w in inside) / size
        frequency = sum(w for _, plus, w in inside if plus) / size
        expected += size / weights.sum() * abs(confidence - frequency)
    np.testing.assert_allclose(calibration_error(p, labels, weights), expected, atol=1e-12)


# A trajectory: for each token after the prompt, the (kind, label, logit) of its decisions.
Step = tuple[int, int, float]


def random_trajectories(seed: int, *, prompts: int) -> list[tuple[list[int], list[list[Step]]]]:
    """Trajectories whose decisions depend on the tokens so far, as real ones do."""
    rng = np.random.default_rng(seed)
    known: dict[tuple[int, ...], list[Step]] = {}
    out = []

    def decision(kind: int) -> Step:
        return kind, int(rng.integers(2)), int(rng.integers(-3, 4)) / 2  # so that ties are frequent

    for prompt in range(prompts):
        for _ in range(6):
            path, steps = [10 + prompt // 2, 20 + prompt], []  # two prompts begin alike
            for _ in range(rng.integers(1, 5)):
                path.append(int(rng.integers(3, 5)))
                if tuple(path) not in known:
                    kinds = np.flatnonzero(rng.random(4) < 0.5).tolist()
                    known[tuple(path)] = [decision(kind) for kind in kinds]
                steps.append(known[tuple(path)])
            end = known.setdefault((*path, -1), [decision(int(Kind.TOTAL_FINISH))])
            steps[-1] = [*steps[-1], *end]
            out.append((path, steps))
    return out


@pytest.mark.parametrize("seed", range(4))
def test_decision_metrics_equal_those_of_separate_trajectories(seed: int) -> None:
    trajectories = random_trajectories(seed, prompts=3)
    builders: dict[int, TreeBuilder] = {}
    wanted: dict[tuple[int, ...], float] = {}
    for path, steps in trajectories:
        builder = builders.setdefault(path[0], TreeBuilder())
        nodes = builder.add_path(path)
        start = nodes[1]
        for node, at, decisions in zip(nodes[2:], range(2, len(path)), steps, strict=True):
            for kind, label, logit in decisions:
                builder.add_marker(node, 40 + kind, kind, label, start)
                wanted[(*path[: at + 1], 40 + kind)] = logit
            start = node if decisions else start
    batch = pack([builder.build() for builder in builders.values()], 128)
    logits = np.zeros(batch.tokens.shape, np.float32)
    for row, index in zip(*np.nonzero(batch.kinds >= 0), strict=True):
        path, node = [int(batch.tokens[row, index])], index
        while batch.parents[row, node] != node:
            node = batch.parents[row, node]
            path.insert(0, int(batch.tokens[row, node]))
        logits[row, index] = wanted[tuple(path)]
    found = decision_metrics([batch], [logits])

    flat = [step for _, steps in trajectories for decisions in steps for step in decisions]
    right = [(logit >= 0) == bool(label) for _, label, logit in flat]
    assert found["accuracy"] == pytest.approx(np.mean(right))
    losses = [math.log1p(math.exp(-logit if label else logit)) for _, label, logit in flat]
    assert found["loss"] == pytest.approx(np.mean(losses), rel=1e-6)
    for kind in Kind:
        of_kind = [hit for (k, _, _), hit in zip(flat, right, strict=True) if k == kind]
        assert found[f"accuracy_{kind.name}"] == pytest.approx(np.mean(of_kind))
    assert found["trajectory_accuracy"] == found["accuracy_TOTAL_FINISH"]

    ends = [(path[1], steps[-1][-1]) for path, steps in trajectories]
    won = [
        1.0 if good > bad else 0.5 if good == bad else 0.0
        for prompt, (_, label, good) in ends
        for rival, (_, other, bad) in ends
        if prompt == rival and label and not other
    ]
    assert found["pairwise_accuracy"] == pytest.approx(np.mean(won))

    with_error, without = [], []
    for _, steps in trajectories:
        listed = [step for decisions in steps for step in decisions]
        true = next((i for i, (_, label, _) in enumerate(listed) if not label), None)
        said = next((i for i, (_, _, logit) in enumerate(listed) if logit < 0), None)
        (without if true is None else with_error).append(true == said)
    assert found["first_error_accuracy"] == pytest.approx(np.mean(with_error))
    if without:
        a, b = np.mean(with_error), np.mean(without)
        assert found["no_error_accuracy"] == pytest.approx(b)
        assert found["first_error_f1"] == pytest.approx(2 * a * b / (a + b) if a + b else 0)
    else:
        assert "no_error_accuracy" not in found


def test_decision_metrics_agree_with_the_training_metrics(
    model: Decoder, contract: Any, make_trees: Any
) -> None:
    batch = pack(make_trees(3, 6), 48)
    # A reward model's trees have weight at markers alone.
    batch = batch._replace(weights=np.where(batch.kinds >= 0, batch.weights, 0))
    params = init_params(model.config, jax.random.key(0))
    sums = means(prm_sums(model, params, batch, contract.label_ids))
    logits = np.asarray(step_logits(model, params, batch, contract.label_ids))
    found = decision_metrics([batch], [logits])
    for name, value in sums.items():
        np.testing.assert_allclose(found[name], value, rtol=1e-5, err_msg=name)


def test_flops_are_those_that_xla_counts() -> None:
    # One layer without bias and wide enough for matrices to be nearly all of the work; XLA counts
    # masked pairs too, so all pairs are visible here.
    config = DecoderConfig(64, 256, 512, 1, 4, 2, 64, qkv_bias=False)
    length = 128
    model, shape = Decoder(config), (1, length)
    params = jax.eval_shape(lambda: init_params(config, jax.random.key(0)))
    tokens = jax.ShapeDtypeStruct(shape, np.int32)

    def forward(params: Any, tokens: Any) -> Any:
        hidden = model.apply(params, tokens, tokens, tokens)
        return model.apply(params, hidden, method=Decoder.logits)

    cost: Any = jax.jit(forward).lower(params, tokens).compile().cost_analysis()
    ours = forward_flops(config, length, length * length, length * config.vocab_size)
    assert ours == pytest.approx(cost["flops"], rel=0.03)
    assert training_flops(config, 1, 0, 0) == 3 * 2 * layer_weights(config)


def test_json_lines_go_on_where_the_run_resumes(tmp_path: Path) -> None:
    path = epath.Path(tmp_path) / "metrics.jsonl"
    with json_lines(path, 0) as write:
        for step in (1, 2, 3):
            write(step, {"loss": step / 3, "tiny": 1.23456789e-12})
    path.write_text(path.read_text() + '{"step": 4, "lo')  # killed while writing
    with json_lines(path, 2) as write:
        write(3, {"loss": 7.0})
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert [line["step"] for line in lines] == [1, 2, 3]
    assert lines[2]["loss"] == 7.0
    assert lines[0]["tiny"] == 1.234568e-12


def test_tensorboard_files_hold_the_scalars(tmp_path: Path) -> None:
    event_pb2: Any = pytest.importorskip("tensorboardX.proto.event_pb2")
    with tensorboard(epath.Path(tmp_path), 0) as write:
        write(5, {"loss": 0.5, "eval_auc": 0.75})
    (file,) = tmp_path.iterdir()
    data, found = file.read_bytes(), {}
    while data:  # TFRecord: length, its checksum, the event, its checksum
        size = int.from_bytes(data[:8], "little")
        event = event_pb2.Event.FromString(data[12 : 12 + size])
        found |= {value.tag: (event.step, value.simple_value) for value in event.summary.value}
        data = data[16 + size :]
    assert found == {"train/loss": (5, 0.5), "eval/auc": (5, 0.75)}


def test_a_missing_package_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "wandb", None)
    opened = weights_and_biases("project", epath.Path(tmp_path), {})
    with pytest.raises(DataError, match="wandb is not installed; pip install 'toolprm-jax"):
        opened.__enter__()


def test_weights_and_biases_resume_in_the_same_run(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import sys
    from types import SimpleNamespace

    begun: list[dict[str, Any]] = []
    logged: list[Any] = []

    def init(**arguments: Any) -> Any:
        begun.append(arguments)
        return SimpleNamespace(
            log=lambda values, step: logged.append((step, values)),
            finish=lambda: logged.append("end"),
        )

    monkeypatch.setitem(sys.modules, "wandb", SimpleNamespace(init=init))
    for _ in range(2):
        with weights_and_biases("project", epath.Path(tmp_path) / "w", {"steps": 1}) as write:
            write(1, {"loss": 2.0})
    assert begun[0] == begun[1]
    assert (begun[0]["project"], begun[0]["resume"]) == ("project", "allow")
    assert logged == [(1, {"loss": 2.0}), "end"] * 2
