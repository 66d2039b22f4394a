"""Held-out metrics of a reward model, computed on the host from its scores."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from toolprm_jax.grammar import Kind
from toolprm_jax.tokens import TreeBatch

BINS = 15  # of the calibration error
_NEVER = np.iinfo(np.int64).max  # the place of an error that isn't there
Floats = NDArray[np.float64]


def auc(scores: Floats, labels: NDArray[np.bool_], weights: Floats) -> float:
    """Area under the ROC curve: how often a "+" scores above a "-", ties counting half.

    Args:
      scores: float[n].
      labels: bool[n], true for "+".
      weights: float[n], how many decisions each stands for.

    Returns:
      The area, or NaN where one of the labels has no weight.
    """
    _, place = np.unique(scores, return_inverse=True)
    positive = np.bincount(place, np.where(labels, weights, 0.0))
    negative = np.bincount(place, np.where(labels, 0.0, weights))
    pairs = positive.sum() * negative.sum()
    if not pairs:
        return math.nan
    below = np.cumsum(negative) - negative / 2
    return float(np.sum(positive * below) / pairs)


def calibration_error(p: Floats, labels: NDArray[np.bool_], weights: Floats) -> float:
    """Expected calibration error: mean gap between the probability of "+" and its frequency.

    Args:
      p: float[n], probabilities of "+", put into 15 bins of equal width.
      labels: bool[n], true for "+".
      weights: float[n], how many decisions each stands for; their sum is positive.

    Source: arXiv:1706.04599, equation 3, for the probability of one label.
    """
    bins = np.minimum((p * BINS).astype(np.int64), BINS - 1)
    gaps = np.bincount(bins, weights * (p - labels), minlength=BINS)
    return float(np.abs(gaps).sum() / weights.sum())


def _first_errors(
    wrong: NDArray[np.bool_], among: NDArray[np.bool_], order: NDArray[np.int64]
) -> NDArray[np.int64]:
    """The place of the first wrong decision of each column of `among`."""
    return np.where(among & wrong[:, None], order[:, None], _NEVER).min(axis=0, initial=_NEVER)


def _sibling_hits(
    score: Floats, plus: NDArray[np.bool_], starts: NDArray[np.int32]
) -> tuple[NDArray[np.bool_], Floats]:
    """Wrong decisions beside a right sibling, and the share of these that score higher."""
    pairs = ~plus[:, None] & plus[None, :] & (starts[:, None] == starts[None, :])
    above = np.sum(pairs & (score[None, :] > score[:, None]), axis=1)
    counts = pairs.sum(axis=1)
    return counts > 0, above / np.maximum(counts, 1)


def _rival_wins(
    score: Floats, plus: NDArray[np.bool_], weights: Floats, prompts: NDArray[np.int64]
) -> tuple[float, float]:
    """Pairs of a right and a wrong trajectory of one prompt, and those whose right one is above.

    As `auc` counts them, but only within a prompt.
    """
    pairs = plus[:, None] & ~plus[None, :] & (prompts[:, None] == prompts[None, :])
    one, other = score[:, None], score[None, :]
    above = (one > other) + (one == other) / 2
    often = np.where(pairs, weights[:, None] * weights[None, :], 0.0)
    return float(often.sum()), float(np.sum(often * above))


def decision_metrics(
    batches: Sequence[TreeBatch], logits: Sequence[NDArray[np.float32]]
) -> dict[str, float]:
    """Metrics of step scores over labelled trees, each decision counted as often as it occurs.

    Args:
      batches: arrays `[B, S]`.
      logits: float32[B, S] for each batch, of "+" against "-".

    Returns:
      `loss` (nats), `accuracy` (p >= 0.5 iff "+"), `ece`, and where they have a value:
      `accuracy_KIND` of each kind, `trajectory_accuracy` (that of TOTAL_FINISH), `auc`,
      `pairwise_accuracy` (of a right and a wrong trajectory of one prompt in one tree, how often
      TOTAL_FINISH of the right one scores higher, ties counting half), `sibling_accuracy` (of the
      right siblings of wrong decisions, those that score higher), `first_error_accuracy` (of
      trajectories with a "-", those whose first "-" is where the model says so first),
      `no_error_accuracy` (of the others, those in which it sees no error) and `first_error_f1`, the
      harmonic mean of these two.

    Source: the first error's position and its F1 are ProcessBench's (arXiv:2412.06559), the
      pairs FC-RewardBench's (arXiv:2509.11963).
    """
    found: list[tuple[Floats, NDArray[np.bool_], Floats, NDArray[np.int32]]] = []
    beside: list[tuple[Floats, Floats]] = []
    located: list[tuple[Floats, NDArray[np.int64], NDArray[np.int64]]] = []
    rivals: list[tuple[float, float]] = []
    for batch, scores in zip(batches, logits, strict=True):
        for row in range(len(batch.tokens)):
            at = np.flatnonzero((batch.kinds[row] >= 0) & (batch.weights[row] > 0))
            kinds, weights = batch.kinds[row, at], batch.weights[row, at].astype(np.float64)
            score, plus = scores[row, at].astype(np.float64), batch.labels[row, at] == 1
            found.append((score, plus, weights, kinds))
            wrong, hits = _sibling_hits(score, plus, batch.starts[row, at])
            beside.append((weights[wrong], hits[wrong]))
            # A trajectory is a TOTAL_FINISH; its decisions hang on the ancestors of its token.
            node = batch.parents[row, at]
            final = kinds == Kind.TOTAL_FINISH
            ends = node[final]
            above = (node[:, None] <= ends) & (ends < batch.exits[row, node][:, None])
            among = above & ~final[:, None]
            among[np.flatnonzero(final), np.arange(len(ends))] = True
            # The first decision of a trajectory starts at the last token of its prompt.
            starts = np.where(among, batch.starts[row, at][:, None].astype(np.int64), _NEVER)
            prompts = starts.min(axis=0, initial=_NEVER)
            rivals.append(_rival_wins(score[final], plus[final], weights[final], prompts))
            order = batch.positions[row, node].astype(np.int64) * len(Kind) + kinds
            located.append(
                (
                    weights[final],
                    _first_errors(~plus, among, order),
                    _first_errors(score < 0, among, order),
                )
            )
    score, plus, weights, kinds = (np.concatenate(part) for part in zip(*found, strict=True))
    often, truth, said = (np.concatenate(part) for part in zip(*located, strict=True))
    hits = (score >= 0) == plus
    p = 1.0 / (1.0 + np.exp(-np.clip(score, -700, 700)))
    losses = np.logaddexp(0.0, np.where(plus, -score, score))
    out = {
        "loss": float(np.average(losses, weights=weights)),
        "accuracy": float(np.average(hits, weights=weights)),
        "auc": auc(score, plus, weights),
        "ece": calibration_error(p, plus, weights),
    }
    for kind in Kind:
        chosen = kinds == kind
        if chosen.any():
            mean = float(np.average(hits[chosen], weights=weights[chosen]))
            out[f"accuracy_{kind.name}"] = mean
    if Kind.TOTAL_FINISH in kinds:
        out["trajectory_accuracy"] = out[f"accuracy_{Kind.TOTAL_FINISH.name}"]
    pairs, won = np.sum(rivals, axis=0)
    if pairs:
        out["pairwise_accuracy"] = float(won / pairs)
    mistaken, higher = (np.concatenate(part) for part in zip(*beside, strict=True))
    if mistaken.size:
        out["sibling_accuracy"] = float(np.average(higher, weights=mistaken))
    for name, chosen in (
        ("first_error_accuracy", truth != _NEVER),
        ("no_error_accuracy", truth == _NEVER),
    ):
        if chosen.any():
            out[name] = float(np.average((truth == said)[chosen], weights=often[chosen]))
    if "first_error_accuracy" in out and "no_error_accuracy" in out:
        a, b = out["first_error_accuracy"], out["no_error_accuracy"]
        out["first_error_f1"] = 2 * a * b / (a + b) if a + b else 0.0
    return {name: value for name, value in out.items() if name != "auc" or not math.isnan(value)}
