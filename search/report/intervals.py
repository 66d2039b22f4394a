"""Accuracies, their differences and F1 scores with bootstrap intervals."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

_CHUNK = 4_000_000  # indices drawn at a time, so that memory stays at some 32 MB


def bootstrap_interval(
    correct: np.ndarray, seed: int = 0, resamples: int = 10_000, level: float = 0.95
) -> tuple[float, float]:
    """Percentile bootstrap interval of a mean over queries.

    Where all values are equal the interval has no width.

    Args:
      correct: bool or float `[Q]`, one value per query.
      seed: of the resampling.
      resamples: number of bootstrap samples.
      level: coverage, a probability.

    Returns:
      The lower and the upper end.

    Raises:
      ValueError: `correct` isn't a vector with at least one value.

    Source: our choice.
    """
    values = np.asarray(correct, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"expected a vector with one value per query, got shape {values.shape}")
    rng = np.random.default_rng(seed)
    rows = max(1, _CHUNK // values.size)
    means = np.concatenate(
        [
            values[rng.integers(values.size, size=(min(rows, resamples - done), values.size))].mean(
                axis=1
            )
            for done in range(0, resamples, rows)
        ]
    )
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def bootstrap_statistic(
    values: np.ndarray,
    statistic: Callable[[np.ndarray], np.ndarray],
    seed: int = 0,
    resamples: int = 10_000,
    level: float = 0.95,
) -> tuple[np.ndarray, np.ndarray]:
    """Percentile bootstrap interval of a function of sums over queries.

    Args:
      values: `[Q, K]`, what each query adds to the sums.
      statistic: of sums `[R, K]`, one row a resample.
      seed: of the resampling.
      resamples: R, number of bootstrap samples.
      level: coverage, a probability.

    Returns:
      The lower and the upper end, in the shape of one statistic.

    Source: our choice.
    """
    rng = np.random.default_rng(seed)
    # How often each query is drawn is all that a sum needs.
    drawn = rng.multinomial(len(values), np.full(len(values), 1 / len(values)), size=resamples)
    ends = [(1 - level) / 2, (1 + level) / 2]
    low, high = np.quantile(statistic(drawn @ values), ends, axis=0)
    return low, high


def paired_bootstrap(
    a: np.ndarray, b: np.ndarray, seed: int = 0, resamples: int = 10_000, level: float = 0.95
) -> tuple[float, float, float]:
    """Difference of the means of two methods over the same queries, with its interval.

    Args:
      a: bool or float `[Q]`, the first method's value per query.
      b: bool or float `[Q]`, the second method's, in the same order.
      seed: of the resampling.
      resamples: number of bootstrap samples.
      level: coverage, a probability.

    Returns:
      `mean(a) - mean(b)`, and the lower and the upper end.

    Raises:
      ValueError: the shapes differ, or there is no query.

    Source: our choice.
    """
    first, second = np.asarray(a, dtype=np.float64), np.asarray(b, dtype=np.float64)
    if first.shape != second.shape:
        raise ValueError(f"expected the same queries, got shapes {first.shape} and {second.shape}")
    low, high = bootstrap_interval(first - second, seed, resamples, level)
    return float(np.mean(first - second)), low, high


def f1_intervals(counts: np.ndarray) -> dict[str, tuple[float, float, float]]:
    """F1 of `names` and of `arguments` over queries, each with the ends of its interval.

    Args:
      counts: int[Q, 6], `toolprm_jax.annotation.F1Counts` of each query.
    """
    found = f1_scores(counts.sum(axis=0))
    low, high = bootstrap_statistic(counts, f1_scores)
    return {
        of: (float(found[place]), float(low[place]), float(high[place]))
        for place, of in enumerate(("names", "arguments"))
    }


def f1_scores(counts: np.ndarray) -> np.ndarray:
    """F1 of names and of arguments.

    Args:
      counts: `[..., 6]`, sums of `toolprm_jax.annotation.F1Counts`.

    Returns:
      float64 `[..., 2]`: of names, of arguments; 0 where nothing is right.
    """
    right, given, gold = (np.asarray(counts, np.float64)[..., k::3] for k in range(3))
    # 2PR / (P + R), with P = right / given and R = right / gold.
    return np.where(right > 0, 2 * right / np.maximum(given + gold, 1), 0.0)
